using System.Buffers;
using NATS.Client.Core;

namespace Dynamo.Vllm.Transports.Nats;

/// <summary>The body of one message in a rented buffer. It held a prompt, so it is cleared when it is returned.</summary>
internal sealed class NatsPayload
{
    private readonly int _length;
    private byte[]? _buffer;

    private NatsPayload(in ReadOnlySequence<byte> body)
    {
        _length = checked((int)body.Length);
        _buffer = ArrayPool<byte>.Shared.Rent(_length);
        body.CopyTo(_buffer);
    }

    public static INatsDeserialize<NatsPayload> Reader { get; } = new Deserializer();

    public ReadOnlyMemory<byte> Memory => _buffer.AsMemory(0, _length);

    /// <summary>Returns the buffer. Later calls do nothing.</summary>
    public void Release()
    {
        if (Interlocked.Exchange(ref _buffer, null) is { } buffer)
        {
            ArrayPool<byte>.Shared.Return(buffer, clearArray: true);
        }
    }

    private sealed class Deserializer : INatsDeserialize<NatsPayload>
    {
        // The client's own buffer is valid only during the call.
        public NatsPayload Deserialize(in ReadOnlySequence<byte> buffer) => new(buffer);
    }
}
