using System.Buffers;
using System.Buffers.Binary;
using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.Protocol.KvEvents;

/// <summary>Encoding of router events, in the key order of the reference.</summary>
/// <remarks>
/// <code>
/// event = { worker_id, storage_tier, residency_domain: "worker", event: { event_id, data, dp_rank }, session_id? }
/// data  = { "stored": { parent_hash, start_position: nil, blocks: [ block* ] } } | { "removed": { block_hashes } } | "cleared"
/// block = { block_hash, tokens_hash, mm_extra_info: nil | { mm_objects: [ { mm_hash, offsets } * ] } }
/// </code>
/// kv-and-load.md, 6. Golden files: tests/golden/kv/conversion-cases.json, kv-query-official.json.
/// </remarks>
public static class RouterEventEncoder
{
    /// <summary>An encoded block without media: three keys, two 64-bit integers at most, nil.</summary>
    private const int BlockBytesMax = 1 + 11 + 9 + 12 + 9 + 14 + 1;

    public static void Write(
        IBufferWriter<byte> output,
        ulong workerId,
        uint rank,
        ulong eventId,
        in RouterEvent entry,
        ReadOnlySpan<KvBlock> blocks,
        ReadOnlySpan<byte> sessionId
    )
    {
        var writer = new MessagePackWriter(output);
        writer.WriteMapHeader(entry.SessionId.IsPresent ? 5 : 4);
        writer.WriteString("worker_id"u8);
        writer.WriteInteger(workerId);
        writer.WriteString("storage_tier"u8);
        writer.WriteString(StorageTiers.Name(entry.Tier));
        writer.WriteString("residency_domain"u8);
        writer.WriteString("worker"u8);
        writer.WriteString("event"u8);
        writer.WriteMapHeader(3);
        writer.WriteString("event_id"u8);
        writer.WriteInteger(eventId);
        writer.WriteString("data"u8);
        WriteData(output, writer, in entry, blocks);
        writer.WriteString("dp_rank"u8);
        writer.WriteInteger((ulong)rank);
        if (entry.SessionId.IsPresent)
        {
            writer.WriteString("session_id"u8);
            writer.WriteString(sessionId);
        }
    }

    private static void WriteData(IBufferWriter<byte> output, MessagePackWriter writer, in RouterEvent entry, ReadOnlySpan<KvBlock> blocks)
    {
        switch (entry.Kind)
        {
            case RouterEventKind.Stored:
                writer.WriteMapHeader(1);
                writer.WriteString("stored"u8);
                WriteStored(output, writer, entry.Parent, blocks);
                break;
            case RouterEventKind.Removed:
                writer.WriteMapHeader(1);
                writer.WriteString("removed"u8);
                writer.WriteMapHeader(1);
                writer.WriteString("block_hashes"u8);
                writer.WriteArrayHeader(blocks.Length);
                foreach (ref readonly var block in blocks)
                {
                    writer.WriteInteger(block.Hash.Value);
                }

                break;
            default:
                writer.WriteString("cleared"u8);
                break;
        }
    }

    private static void WriteStored(IBufferWriter<byte> output, MessagePackWriter writer, BlockHash? parent, ReadOnlySpan<KvBlock> blocks)
    {
        writer.WriteMapHeader(3);
        writer.WriteString("parent_hash"u8);
        if (parent is { } hash)
        {
            writer.WriteInteger(hash.Value);
        }
        else
        {
            writer.WriteNil();
        }

        writer.WriteString("start_position"u8);
        writer.WriteNil();
        writer.WriteString("blocks"u8);
        writer.WriteArrayHeader(blocks.Length);
        foreach (ref readonly var block in blocks)
        {
            WriteBlock(output, in block);
            if (block.Media is { } media)
            {
                WriteMedia(writer, media);
            }
            else
            {
                writer.WriteNil();
            }
        }
    }

    /// <summary>All of a block but the value of its last key, in one span: this is where the time goes.</summary>
    private static void WriteBlock(IBufferWriter<byte> output, in KvBlock block)
    {
        var span = output.GetSpan(BlockBytesMax);
        span[0] = 0x83;
        span[1] = 0xaa;
        "block_hash"u8.CopyTo(span[2..]);
        var length = 12;
        length += WriteInteger(span[length..], block.Hash.Value);
        span[length++] = 0xab;
        "tokens_hash"u8.CopyTo(span[length..]);
        length += 11;
        length += WriteInteger(span[length..], block.Tokens.Value);
        span[length++] = 0xad;
        "mm_extra_info"u8.CopyTo(span[length..]);
        output.Advance(length + 13);
    }

    private static int WriteInteger(Span<byte> span, ulong value)
    {
        switch (value)
        {
            case <= 0x7f:
                span[0] = (byte)value;
                return 1;
            case <= byte.MaxValue:
                span[0] = 0xcc;
                span[1] = (byte)value;
                return 2;
            case <= ushort.MaxValue:
                span[0] = 0xcd;
                BinaryPrimitives.WriteUInt16BigEndian(span[1..], (ushort)value);
                return 3;
            case <= uint.MaxValue:
                span[0] = 0xce;
                BinaryPrimitives.WriteUInt32BigEndian(span[1..], (uint)value);
                return 5;
            default:
                span[0] = 0xcf;
                BinaryPrimitives.WriteUInt64BigEndian(span[1..], value);
                return 9;
        }
    }

    private static void WriteMedia(MessagePackWriter writer, MediaObject[] media)
    {
        writer.WriteMapHeader(1);
        writer.WriteString("mm_objects"u8);
        writer.WriteArrayHeader(media.Length);
        foreach (var item in media)
        {
            writer.WriteMapHeader(2);
            writer.WriteString("mm_hash"u8);
            writer.WriteInteger(item.Hash);
            writer.WriteString("offsets"u8);
            writer.WriteArrayHeader(item.Offsets.Length / 2);
            for (var i = 0; i < item.Offsets.Length; i += 2)
            {
                writer.WriteArrayHeader(2);
                writer.WriteInteger(item.Offsets[i]);
                writer.WriteInteger(item.Offsets[i + 1]);
            }
        }
    }
}
