using System.Buffers;
using System.Buffers.Binary;
using Dynamo.Vllm.Protocol.Zmtp;

namespace Dynamo.Vllm.Engine.Direct;

/// <summary>One message to the engine while it is written: its type, then a body of MessagePack. Its buffer is rented.</summary>
internal sealed class EngineMessage : IBufferWriter<byte>, IDisposable
{
    /// <summary>A frame of one byte that has another one behind it, and the header of that one in its long form.</summary>
    private const int HeadBytes = 3 + ZmtpCodec.FrameHeaderBytesMax;

    private byte[] _buffer;
    private int _written = HeadBytes;

    public EngineMessage(EngineMessageType type, int bytesExpected)
    {
        _buffer = ArrayPool<byte>.Shared.Rent(HeadBytes + bytesExpected);
        _buffer[0] = ZmtpCodec.More;
        _buffer[1] = 1;
        _buffer[2] = (byte)type;
        _buffer[3] = ZmtpCodec.Long;
    }

    public int Length => _written;

    public void Advance(int count) => _written += count;

    public Memory<byte> GetMemory(int sizeHint = 0)
    {
        Reserve(sizeHint);
        return _buffer.AsMemory(_written);
    }

    public Span<byte> GetSpan(int sizeHint = 0)
    {
        Reserve(sizeHint);
        return _buffer.AsSpan(_written);
    }

    public void Copy(ReadOnlySpan<byte> bytes)
    {
        bytes.CopyTo(GetSpan(bytes.Length));
        Advance(bytes.Length);
    }

    /// <summary>The whole message, as it goes over the wire.</summary>
    public ReadOnlyMemory<byte> Complete()
    {
        BinaryPrimitives.WriteUInt64BigEndian(_buffer.AsSpan(4), (ulong)(_written - HeadBytes));
        return _buffer.AsMemory(0, _written);
    }

    public void Dispose() => ArrayPool<byte>.Shared.Return(Interlocked.Exchange(ref _buffer, []));

    private void Reserve(int bytes)
    {
        if (_buffer.Length - _written >= Math.Max(bytes, 1))
        {
            return;
        }

        var larger = ArrayPool<byte>.Shared.Rent(Math.Max(_buffer.Length * 2, _written + bytes));
        _buffer.AsSpan(0, _written).CopyTo(larger);
        ArrayPool<byte>.Shared.Return(_buffer);
        _buffer = larger;
    }
}
