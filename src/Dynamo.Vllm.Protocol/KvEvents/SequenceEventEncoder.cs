using System.Buffers;
using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.Protocol.KvEvents;

/// <summary>Payload of <c>active_sequences_events</c>: the prefill of a request is done.</summary>
/// <remarks>
/// <code>
/// batch = { events: [ event* ] }           (ZMQ; NATS carries one event without the batch)
/// event = { request_id, worker: { worker_id, dp_rank }, data: "MarkPrefillCompleted", router_id, lora_name: nil }
/// </code>
/// kv-and-load.md, 11. Golden file: tests/golden/kv/dynamo-vllm-eventplane.json.
/// </remarks>
public static class SequenceEventEncoder
{
    public static void WriteBatchHeader(IBufferWriter<byte> output, int events)
    {
        var writer = new MessagePackWriter(output);
        writer.WriteMapHeader(1);
        writer.WriteString("events"u8);
        writer.WriteArrayHeader(events);
    }

    public static void WriteEvent(IBufferWriter<byte> output, string requestId, ulong workerId, uint rank)
    {
        var writer = new MessagePackWriter(output);
        writer.WriteMapHeader(5);
        writer.WriteString("request_id"u8);
        writer.WriteString(requestId);
        writer.WriteString("worker"u8);
        writer.WriteMapHeader(2);
        writer.WriteString("worker_id"u8);
        writer.WriteInteger(workerId);
        writer.WriteString("dp_rank"u8);
        writer.WriteInteger((ulong)rank);
        writer.WriteString("data"u8);
        writer.WriteString("MarkPrefillCompleted"u8);
        writer.WriteString("router_id"u8);
        writer.WriteInteger(workerId); // the publisher of the event, which for a worker is itself
        writer.WriteString("lora_name"u8);
        writer.WriteNil();
    }
}
