using System.Buffers;
using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.Protocol.KvEvents;

/// <summary>Payload of <c>kv_metrics</c>: a worker knows its used blocks only; the rest is the router's own estimate.</summary>
/// <remarks>
/// <code>{ worker_id, dp_rank, active_decode_blocks: nil, active_prefill_tokens: nil, kv_used_blocks }</code>
/// kv-and-load.md, 10. Golden file: tests/golden/kv/zmq-direct-kv_metrics.frame3.bin.
/// </remarks>
public static class ActiveLoadEncoder
{
    public static void Write(IBufferWriter<byte> output, ulong workerId, uint rank, long usedBlocks)
    {
        var writer = new MessagePackWriter(output);
        writer.WriteMapHeader(5);
        writer.WriteString("worker_id"u8);
        writer.WriteInteger(workerId);
        writer.WriteString("dp_rank"u8);
        writer.WriteInteger((ulong)rank);
        writer.WriteString("active_decode_blocks"u8);
        writer.WriteNil();
        writer.WriteString("active_prefill_tokens"u8);
        writer.WriteNil();
        writer.WriteString("kv_used_blocks"u8);
        writer.WriteInteger(usedBlocks);
    }
}
