using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.Protocol.KvEvents;

/// <summary>Reads the single fields of an event of the engine, and the tails of older versions (kv-and-load.md, 2).</summary>
internal static class EngineEventFields
{
    private const int TypedTailFieldsMin = 4;

    public static EngineEventKind ParseKind(ReadOnlySpan<byte> kind)
    {
        if (kind.SequenceEqual("BlockStored"u8))
        {
            return EngineEventKind.Stored;
        }

        if (kind.SequenceEqual("BlockRemoved"u8))
        {
            return EngineEventKind.Removed;
        }

        if (kind.SequenceEqual("AllBlocksCleared"u8))
        {
            return EngineEventKind.Cleared;
        }

        return kind.SequenceEqual("Ignored"u8)
            ? EngineEventKind.Ignored
            : throw new ProtocolException("event batch holds an event of an unknown type");
    }

    public static uint ReadUInt32(ref MessagePackReader reader, string field)
    {
        var value = reader.ReadUInt64();
        return value <= uint.MaxValue ? (uint)value : throw new ProtocolException($"{field} {value} is above the limit {uint.MaxValue}");
    }

    public static ByteRange ReadOptionalText(ref MessagePackReader reader)
    {
        if (reader.TryReadNil())
        {
            return default;
        }

        var length = reader.ReadStringBytes().Length;
        return new(reader.Position - length, length);
    }

    private static uint? ReadOptionalUInt32(ref MessagePackReader reader, string field) =>
        reader.TryReadNil() ? null : ReadUInt32(ref reader, field);

    /// <summary>Keeps an array or nil for later, and checks that it is well-formed.</summary>
    public static ByteRange ReadOptionalArray(ref MessagePackReader reader)
    {
        if (reader.TryReadNil())
        {
            return default;
        }

        if (reader.PeekType() != MessagePackType.Array)
        {
            throw new ProtocolException("event field that must be an array is none");
        }

        var start = reader.Position;
        reader.Skip();
        return new(start, reader.Position - start);
    }

    public static void ReadOptionalField(ref MessagePackReader reader, ref EngineEvent entry, ReadOnlySpan<byte> key)
    {
        if (key.SequenceEqual("medium"u8))
        {
            entry.Medium = ReadOptionalText(ref reader);
        }
        else if (key.SequenceEqual("lora_name"u8))
        {
            entry.LoraName = ReadOptionalText(ref reader);
        }
        else if (key.SequenceEqual("extra_keys"u8))
        {
            entry.ExtraKeys = ReadOptionalArray(ref reader);
        }
        else if (key.SequenceEqual("group_idx"u8))
        {
            entry.Group = ReadOptionalUInt32(ref reader, "group_idx");
        }
        else if (key.SequenceEqual("kv_cache_spec_kind"u8))
        {
            entry.SpecKind = ReadOptionalText(ref reader);
        }
        else if (key.SequenceEqual("session_id"u8))
        {
            entry.SessionId = ReadOptionalText(ref reader);
        }
        else if (key.SequenceEqual("cache_salt"u8))
        {
            entry.CacheSalt = ReadOptionalText(ref reader);
        }
        else if (key.SequenceEqual("locality"u8))
        {
            entry.Locality = ReadOptionalText(ref reader);
        }
        else if (key.SequenceEqual("ownership"u8))
        {
            entry.Ownership = ReadOptionalText(ref reader);
        }
        else if (key.SequenceEqual("block_mm_infos"u8))
        {
            entry.MediaInfos = ReadOptionalArray(ref reader);
        }
        else
        {
            reader.Skip(); // lora_id, kv_cache_spec_sliding_window, and what later versions add
        }
    }

    public static void RequireFields(in EngineEvent entry, bool hasKind, bool hasHashes, bool hasTokens, bool hasBlockSize)
    {
        if (!hasKind)
        {
            throw new ProtocolException("event has no type");
        }

        if (entry.Kind is EngineEventKind.Stored or EngineEventKind.Removed && !hasHashes)
        {
            throw new ProtocolException("event has no block_hashes");
        }

        if (entry.Kind == EngineEventKind.Stored && !(hasTokens && hasBlockSize))
        {
            throw new ProtocolException("stored event has no token_ids or no block_size");
        }
    }

    /// <summary>vLLM has the adapter's name here, SGLang a map with the salt.</summary>
    public static void ReadNameOrMetadata(ref MessagePackReader reader, ref EngineEvent entry)
    {
        if (reader.TryReadNil())
        {
            return;
        }

        if (reader.PeekType() != MessagePackType.Map)
        {
            entry.LoraName = ReadOptionalText(ref reader);
            return;
        }

        var fields = reader.ReadMapHeader();
        for (var i = 0; i < fields; i++)
        {
            if (reader.ReadStringBytes().SequenceEqual("cache_salt"u8))
            {
                entry.CacheSalt = ReadOptionalText(ref reader);
            }
            else
            {
                reader.Skip();
            }
        }
    }

    public static void ReadTail(ref MessagePackReader reader, ref EngineEvent entry, int fields)
    {
        if (fields >= TypedTailFieldsMin && IsTypedTail(reader, fields))
        {
            entry.Group = ReadOptionalUInt32(ref reader, "group_idx");
            entry.SpecKind = ReadOptionalText(ref reader);
            reader.Skip(); // sliding window
            entry.Locality = ReadOptionalText(ref reader);
            var left = fields - TypedTailFieldsMin;
            if (TakeField(ref left))
            {
                entry.Ownership = ReadOptionalText(ref reader);
            }

            SkipFields(ref reader, left);
            return;
        }

        ReadSparseTail(ref reader, ref entry, fields);
    }

    /// <summary>Looks ahead on a copy: [u32|nil, str|nil, u32|nil, str|nil, str|nil, ...].</summary>
    private static bool IsTypedTail(MessagePackReader reader, int fields)
    {
        for (var i = 0; i < Math.Min(fields, TypedTailFieldsMin + 1); i++)
        {
            var type = reader.PeekType();
            var wanted = i is 0 or 2 ? MessagePackType.Integer : MessagePackType.String;
            if (type != MessagePackType.Nil && type != wanted)
            {
                return false;
            }

            reader.Skip();
        }

        return true;
    }

    /// <summary>Tails of older versions: elements by type.</summary>
    private static void ReadSparseTail(ref MessagePackReader reader, ref EngineEvent entry, int fields)
    {
        for (var i = 0; i < fields; i++)
        {
            switch (reader.PeekType())
            {
                case MessagePackType.Integer when entry.Group is null:
                    entry.Group = ReadUInt32(ref reader, "group_idx");
                    break;
                case MessagePackType.String when !entry.SpecKind.IsPresent:
                    entry.SpecKind = ReadOptionalText(ref reader);
                    break;
                case MessagePackType.Array when !entry.MediaInfos.IsPresent:
                    entry.MediaInfos = ReadOptionalArray(ref reader);
                    break;
                default:
                    reader.Skip();
                    break;
            }
        }
    }

    public static bool TakeField(ref int left)
    {
        if (left <= 0)
        {
            return false;
        }

        left--;
        return true;
    }

    public static void SkipFields(ref MessagePackReader reader, int fields)
    {
        for (var i = 0; i < fields; i++)
        {
            reader.Skip();
        }
    }
}
