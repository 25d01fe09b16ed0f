using System.Buffers;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Framing;
using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.Transports.Tcp;

/// <summary>Frames that leave in one write. Grows to the largest burst of its request and is returned to the pool with it.</summary>
internal sealed class FrameBuffer : IBufferWriter<byte>, IDisposable
{
    private byte[] _buffer = ArrayPool<byte>.Shared.Rent(1024);
    private ArrayBufferWriter<byte>? _scratch;
    private int _length;
    private int _bodyStart;

    public ReadOnlyMemory<byte> Written => _buffer.AsMemory(0, _length);

    public bool IsEmpty => _length == 0;

    public void Clear() => _length = 0;

    /// <summary>A frame with a header and no body.</summary>
    public void WriteHeaderFrame(ReadOnlySpan<byte> header) => TwoPartMessage.Write(this, header, default);

    /// <summary>Starts a frame with a body in MessagePack: write it through the returned writer, then call <see cref="EndBody"/>.</summary>
    public IBufferWriter<byte> BeginBody(PayloadCodec codec)
    {
        _bodyStart = _length;
        GetSpan(TwoPartMessage.PrefixBytes);
        Advance(TwoPartMessage.PrefixBytes);
        if (codec == PayloadCodec.MessagePack)
        {
            return this;
        }

        _scratch ??= new ArrayBufferWriter<byte>();
        _scratch.ResetWrittenCount();
        return _scratch;
    }

    /// <summary>Completes the frame in the codec and returns the size of its body.</summary>
    public int EndBody(PayloadCodec codec)
    {
        if (codec == PayloadCodec.Json)
        {
            MessagePackJson.Transcode(_scratch!.WrittenSpan, this);
        }

        var bodyBytes = _length - _bodyStart - TwoPartMessage.PrefixBytes;
        TwoPartMessage.WritePrefix(_buffer.AsSpan(_bodyStart), 0, bodyBytes);
        return bodyBytes;
    }

    /// <summary>Takes back a body that could not be encoded: what was complete before it stays sendable.</summary>
    public void RollBack() => _length = _bodyStart;

    public void Advance(int count) => _length += count;

    public Memory<byte> GetMemory(int sizeHint = 0)
    {
        Ensure(sizeHint);
        return _buffer.AsMemory(_length);
    }

    public Span<byte> GetSpan(int sizeHint = 0)
    {
        Ensure(sizeHint);
        return _buffer.AsSpan(_length);
    }

    public void Dispose()
    {
        var buffer = _buffer;
        _buffer = [];
        if (buffer.Length > 0)
        {
            ArrayPool<byte>.Shared.Return(buffer, clearArray: true); // held generated tokens
        }
    }

    private void Ensure(int sizeHint)
    {
        var needed = _length + Math.Max(sizeHint, 1);
        if (needed <= _buffer.Length)
        {
            return;
        }

        var larger = ArrayPool<byte>.Shared.Rent(Math.Max(needed, _buffer.Length * 2));
        _buffer.AsSpan(0, _length).CopyTo(larger);
        ArrayPool<byte>.Shared.Return(_buffer, clearArray: true);
        _buffer = larger;
    }
}
