using System.Buffers;
using System.Buffers.Binary;
using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.Protocol.KvEvents;

/// <summary>The wrapper of every event-plane message.</summary>
/// <remarks>
/// <code>
/// envelope = { publisher_id: u53, sequence: u64, published_at: unix ms, topic: str, payload: bin }
/// frame    = 01, u32be length, envelope       (the last of four ZMQ frames; NATS carries the bare envelope)
/// </code>
/// kv-and-load.md, 5.1 and 5.3. Golden files in tests/golden/kv: zmq-direct-*.bin, nats-*.bin.
/// </remarks>
public static class EventEnvelope
{
    /// <summary>Version byte and length in front of an envelope on ZMQ.</summary>
    public const int FrameHeaderBytes = 5;

    private const byte FrameVersion = 1;

    public static void Write(
        IBufferWriter<byte> output,
        PublisherId publisher,
        ulong sequence,
        long publishedAtMilliseconds,
        ReadOnlySpan<byte> topic,
        ReadOnlySpan<byte> payload
    )
    {
        var writer = new MessagePackWriter(output);
        writer.WriteMapHeader(5);
        writer.WriteString("publisher_id"u8);
        writer.WriteInteger(publisher.Value);
        writer.WriteString("sequence"u8);
        writer.WriteInteger(sequence);
        writer.WriteString("published_at"u8);
        writer.WriteInteger(publishedAtMilliseconds);
        writer.WriteString("topic"u8);
        writer.WriteString(topic);
        writer.WriteString("payload"u8);
        writer.WriteBinary(payload);
    }

    public static void WriteFrameHeader(Span<byte> header, int envelopeBytes)
    {
        header[0] = FrameVersion;
        BinaryPrimitives.WriteUInt32BigEndian(header[1..], (uint)envelopeBytes);
    }
}
