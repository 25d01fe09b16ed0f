using System.Buffers;

namespace Dynamo.Vllm.Python.Interpreter;

/// <summary>One batch from Python in a rented buffer. The reader disposes it, which clears and returns the buffer.</summary>
public readonly struct GuestBatch : IDisposable
{
    private readonly byte[] _buffer;
    private readonly int _length;

    internal GuestBatch(ReadOnlySpan<byte> data)
    {
        _buffer = ArrayPool<byte>.Shared.Rent(data.Length);
        _length = data.Length;
        data.CopyTo(_buffer);
    }

    public ReadOnlySpan<byte> Span => _buffer.AsSpan(0, _length);

    public void Dispose() => ArrayPool<byte>.Shared.Return(_buffer, clearArray: true);
}
