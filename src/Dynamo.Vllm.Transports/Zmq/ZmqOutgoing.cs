using System.Buffers;

namespace Dynamo.Vllm.Transports.Zmq;

/// <summary>An encoded message on its way to several subscribers. The last one returns its buffer.</summary>
internal sealed class ZmqOutgoing
{
    private byte[] _buffer;
    private int _holders = 1;

    /// <summary>Rents room; the creator is the first holder.</summary>
    public ZmqOutgoing(int bytes)
    {
        _buffer = ArrayPool<byte>.Shared.Rent(bytes);
        Length = bytes;
    }

    public int Length { get; }

    public Span<byte> Span => _buffer.AsSpan(0, Length);

    public void Hold() => Interlocked.Increment(ref _holders);

    public void Release()
    {
        if (Interlocked.Decrement(ref _holders) == 0)
        {
            ArrayPool<byte>.Shared.Return(Interlocked.Exchange(ref _buffer, []));
        }
    }
}
