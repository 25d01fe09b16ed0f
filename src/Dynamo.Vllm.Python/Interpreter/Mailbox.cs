using System.Buffers;
using System.Buffers.Binary;
using System.Collections.Concurrent;
using Dynamo.Vllm.Python.Platform;
using Microsoft.Win32.SafeHandles;

namespace Dynamo.Vllm.Python.Interpreter;

/// <summary>Messages on their way into Python: any thread posts, the Python thread takes them in batches.</summary>
/// <remarks>
/// One wake-up (an eventfd that asyncio watches) per batch, so no pool thread ever waits for the interpreter lock.
/// Bounded by count and bytes; what is urgent (aborts, shutdown) passes the bound, since there is at most one per live request.
/// </remarks>
internal sealed class Mailbox : IDisposable
{
    /// <summary>What one take hands over at most, so that a burst cannot keep the event loop away from the engine.</summary>
    private const int BatchBytesMax = 1 << 20;

    private readonly ConcurrentQueue<(byte[] Buffer, int Length)> _messages = new();
    private readonly int _countMax;
    private readonly long _bytesMax;
    private int _count;
    private long _bytes;
    private int _isSignalled;
    private readonly SafeFileHandle _eventFd;

    public Mailbox(int countMax, long bytesMax)
    {
        _countMax = countMax;
        _bytesMax = bytesMax;
        EventFd = NativeLibc.EventFd(0, NativeLibc.EventFdNonBlocking | NativeLibc.EventFdCloseOnExec);
        if (EventFd < 0)
        {
            throw new InvalidOperationException("eventfd failed: out of file descriptors");
        }

        _eventFd = new SafeFileHandle(EventFd, ownsHandle: true);
    }

    /// <summary>Open until the mailbox is closed: only its reader may use the number.</summary>
    public int EventFd { get; }

    /// <summary>Queues a copy of the message. False if the mailbox is full or closed.</summary>
    public bool TryPost(ReadOnlySpan<byte> header, ReadOnlySpan<byte> body, bool isUrgent)
    {
        if (_eventFd.IsClosed)
        {
            return false;
        }

        var length = sizeof(uint) + header.Length + body.Length;
        if (!isUrgent && (Volatile.Read(ref _count) >= _countMax || Volatile.Read(ref _bytes) + length > _bytesMax))
        {
            return false;
        }

        // Counted before it can be taken, or the counters could fall below zero.
        Interlocked.Increment(ref _count);
        Interlocked.Add(ref _bytes, length);
        var buffer = ArrayPool<byte>.Shared.Rent(length);
        BinaryPrimitives.WriteUInt32LittleEndian(buffer, (uint)(header.Length + body.Length));
        header.CopyTo(buffer.AsSpan(sizeof(uint)));
        body.CopyTo(buffer.AsSpan(sizeof(uint) + header.Length));
        _messages.Enqueue((buffer, length));
        if (Interlocked.Exchange(ref _isSignalled, 1) == 0)
        {
            Signal();
        }

        return true;
    }

    /// <summary>Copies what has been posted, whole messages each with a u32 length in front, up to a bound. Python thread only.</summary>
    public int Take(IBufferWriter<byte> output)
    {
        // Reset before the drain: a message posted after it either is seen by the loop below or signals again.
        Volatile.Write(ref _isSignalled, 0);
        Interlocked.MemoryBarrier();
        var taken = 0;
        while (taken < BatchBytesMax && _messages.TryDequeue(out var message))
        {
            output.Write(message.Buffer.AsSpan(0, message.Length));
            taken += message.Length;
            Interlocked.Decrement(ref _count);
            Interlocked.Add(ref _bytes, -message.Length);
            ArrayPool<byte>.Shared.Return(message.Buffer, clearArray: true); // held a prompt
        }

        if (!_messages.IsEmpty && Interlocked.Exchange(ref _isSignalled, 1) == 0)
        {
            Signal();
        }

        return taken;
    }

    /// <summary>Once nobody reads any more. What was posted can still be taken.</summary>
    public void Dispose() => _eventFd.Dispose();

    private void Signal()
    {
        // A number that was closed may be another file's already, so it is held open meanwhile.
        var isHeld = false;
        try
        {
            _eventFd.DangerousAddRef(ref isHeld);

            // Fails only if the counter is at its limit, in which case the reader is awake anyway.
            NativeLibc.Write(EventFd, 1UL, sizeof(ulong));
        }
        catch (ObjectDisposedException)
        {
            // The guest has ended meanwhile.
        }
        finally
        {
            if (isHeld)
            {
                _eventFd.DangerousRelease();
            }
        }
    }
}
