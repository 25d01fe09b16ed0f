using System.Buffers;
using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.Protocol.KvEvents;

/// <summary>A router's question for what it missed.</summary>
/// <remarks>
/// <code>{ worker_id, dp_rank, start_event_id: u64?, end_event_id: u64?, supports_tree_dump_failed: bool?, kind: "recovery"? }</code>
/// kv-and-load.md, 8. Golden file: tests/golden/kv/kv-query-official.json.
/// </remarks>
public sealed record KvQuery(ulong WorkerId, uint Rank, ulong? Start, ulong? End, bool SupportsDumpFailed, bool IsRecovery)
{
    /// <exception cref="ProtocolException">The body is no query.</exception>
    public static KvQuery Parse(ReadOnlySpan<byte> body, PayloadCodec codec)
    {
        if (codec == PayloadCodec.MessagePack)
        {
            return Parse(body);
        }

        var packed = new ArrayBufferWriter<byte>();
        MessagePackJson.WriteMessagePack(body, packed);
        return Parse(packed.WrittenSpan);
    }

    private static KvQuery Parse(ReadOnlySpan<byte> body)
    {
        ulong? worker = null;
        ulong? rank = null;
        ulong? start = null;
        ulong? end = null;
        var supportsDumpFailed = false;
        var isRecovery = true;
        var reader = new MessagePackReader(body);
        var fields = reader.ReadMapHeader();
        for (var i = 0; i < fields; i++)
        {
            var key = reader.ReadStringBytes();
            if (key.SequenceEqual("worker_id"u8))
            {
                worker = reader.ReadUInt64();
            }
            else if (key.SequenceEqual("dp_rank"u8))
            {
                rank = reader.ReadUInt64();
            }
            else if (key.SequenceEqual("start_event_id"u8))
            {
                start = reader.TryReadNil() ? null : reader.ReadUInt64();
            }
            else if (key.SequenceEqual("end_event_id"u8))
            {
                end = reader.TryReadNil() ? null : reader.ReadUInt64();
            }
            else if (key.SequenceEqual("supports_tree_dump_failed"u8))
            {
                supportsDumpFailed = reader.ReadBoolean();
            }
            else if (key.SequenceEqual("kind"u8))
            {
                isRecovery = ReadIsRecovery(ref reader);
            }
            else
            {
                reader.Skip();
            }
        }

        if (worker is not { } workerId || rank is not ({ } rankValue and <= uint.MaxValue))
        {
            throw new ProtocolException("KV query lacks worker_id or dp_rank");
        }

        return new KvQuery(workerId, (uint)rankValue, start, end, supportsDumpFailed, isRecovery);
    }

    /// <summary>Other kinds are maps; they ask for what this worker does not have.</summary>
    private static bool ReadIsRecovery(ref MessagePackReader reader)
    {
        if (reader.PeekType() == MessagePackType.String)
        {
            return reader.ReadStringBytes().SequenceEqual("recovery"u8);
        }

        reader.Skip();
        return false;
    }
}
