using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.Protocol.KvEvents;

/// <content>The two forms of an event.</content>
public sealed partial class EngineEventBatch
{
    private const int TypedTailFieldsMin = 4;

    private void ReadMap(ref MessagePackReader reader, ref EngineEvent entry)
    {
        var fields = reader.ReadMapHeader();
        var hasKind = false;
        var hasHashes = false;
        var hasTokens = false;
        var hasBlockSize = false;
        for (var i = 0; i < fields; i++)
        {
            var key = reader.ReadStringBytes();
            if (key.SequenceEqual("type"u8))
            {
                entry.Kind = ParseKind(reader.ReadStringBytes());
                hasKind = true;
            }
            else if (key.SequenceEqual("block_hashes"u8))
            {
                ReadHashes(ref reader, ref entry);
                hasHashes = true;
            }
            else if (key.SequenceEqual("token_ids"u8))
            {
                ReadTokens(ref reader, ref entry);
                hasTokens = true;
            }
            else if (key.SequenceEqual("block_size"u8))
            {
                entry.BlockSize = reader.ReadUInt64();
                hasBlockSize = true;
            }
            else if (key.SequenceEqual("parent_block_hash"u8))
            {
                entry.Parent = ReadParent(ref reader);
            }
            else
            {
                ReadOptionalField(ref reader, ref entry, key);
            }
        }

        RequireFields(in entry, hasKind, hasHashes, hasTokens, hasBlockSize);
    }

    private static void ReadOptionalField(ref MessagePackReader reader, ref EngineEvent entry, ReadOnlySpan<byte> key)
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

    private static void RequireFields(in EngineEvent entry, bool hasKind, bool hasHashes, bool hasTokens, bool hasBlockSize)
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

    private BlockHash? ReadParent(ref MessagePackReader reader) => reader.TryReadNil() ? null : new BlockHash(ReadHash(ref reader));

    private void ReadArray(ref MessagePackReader reader, ref EngineEvent entry)
    {
        var fields = reader.ReadArrayHeader();
        if (fields == 0)
        {
            throw new ProtocolException("event has no type");
        }

        entry.Kind = ParseKind(reader.ReadStringBytes());
        var left = fields - 1;
        switch (entry.Kind)
        {
            case EngineEventKind.Stored:
                ReadStoredArray(ref reader, ref entry, ref left);
                break;
            case EngineEventKind.Removed:
                ReadHashes(ref reader, ref entry);
                left--;
                if (TakeField(ref left))
                {
                    entry.Medium = ReadOptionalText(ref reader);
                }

                ReadTail(ref reader, ref entry, left);
                break;
            case EngineEventKind.Cleared:
                if (TakeField(ref left))
                {
                    entry.Ownership = ReadOptionalText(ref reader);
                }

                SkipFields(ref reader, left);
                break;
            default:
                SkipFields(ref reader, left);
                break;
        }
    }

    private void ReadStoredArray(ref MessagePackReader reader, ref EngineEvent entry, ref int left)
    {
        if (left < 4)
        {
            throw new ProtocolException($"stored event has {left} fields after its type, 4 are needed");
        }

        ReadHashes(ref reader, ref entry);
        entry.Parent = ReadParent(ref reader);
        ReadTokens(ref reader, ref entry);
        entry.BlockSize = reader.ReadUInt64();
        left -= 4;
        if (TakeField(ref left))
        {
            reader.Skip(); // lora_id, deprecated
        }

        if (TakeField(ref left))
        {
            entry.Medium = ReadOptionalText(ref reader);
        }

        if (TakeField(ref left))
        {
            ReadNameOrMetadata(ref reader, ref entry);
        }

        if (TakeField(ref left))
        {
            entry.ExtraKeys = ReadOptionalArray(ref reader);
        }

        ReadTail(ref reader, ref entry, left);
    }

    /// <summary>vLLM has the adapter's name here, SGLang a map with the salt.</summary>
    private static void ReadNameOrMetadata(ref MessagePackReader reader, ref EngineEvent entry)
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

    private static void ReadTail(ref MessagePackReader reader, ref EngineEvent entry, int fields)
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

    private static bool TakeField(ref int left)
    {
        if (left <= 0)
        {
            return false;
        }

        left--;
        return true;
    }

    private static void SkipFields(ref MessagePackReader reader, int fields)
    {
        for (var i = 0; i < fields; i++)
        {
            reader.Skip();
        }
    }
}
