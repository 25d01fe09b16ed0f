using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.Protocol.KvEvents;

/// <summary>Decoder of the engine's event batches. Reused: each decode replaces what was there, and allocates only to grow.</summary>
/// <remarks>
/// <code>
/// batch = [ timestamp: f64, [ event* ], rank: u32, ... ]
/// event = { "type": kind, name: value * }            (vLLM since named maps)
///       | [ kind, value* ]                           (older vLLM, SGLang)
/// hash  = u64 | i64 (its bit pattern) | bin (its last 8 bytes, big-endian)
/// </code>
/// Unknown keys and trailing elements are skipped; an unknown kind or a wrong type refuses the whole batch.
/// kv-and-load.md, 2. Golden files: tests/golden/kv/conversion-cases.json, vllm-*.payload.bin.
/// </remarks>
public sealed class EngineEventBatch
{
    private readonly bool _acceptsByteHashes;
    private EngineEvent[] _events = new EngineEvent[16];
    private ulong[] _hashes = new ulong[256];
    private uint[] _tokens = new uint[4096];
    private int _eventCount;
    private int _hashCount;
    private int _tokenCount;

    /// <param name="acceptsByteHashes">False refuses batches with byte hashes, as the reference does.</param>
    public EngineEventBatch(bool acceptsByteHashes = true) => _acceptsByteHashes = acceptsByteHashes;

    /// <summary>Unix seconds at which the engine made the batch.</summary>
    public double Timestamp { get; private set; }

    /// <summary>Global data-parallel rank.</summary>
    public uint Rank { get; private set; }

    public ReadOnlySpan<EngineEvent> Events => _events.AsSpan(0, _eventCount);

    public ReadOnlySpan<ulong> Hashes(in EngineEvent entry) => _hashes.AsSpan(entry.HashStart, entry.HashCount);

    public ReadOnlySpan<uint> Tokens(in EngineEvent entry) => _tokens.AsSpan(entry.TokenStart, entry.TokenCount);

    /// <summary>Decodes a payload.</summary>
    /// <exception cref="ProtocolException">The batch is refused whole; nothing of it may be used.</exception>
    public void Decode(ReadOnlySpan<byte> payload)
    {
        _eventCount = 0;
        _hashCount = 0;
        _tokenCount = 0;
        var reader = new MessagePackReader(payload);
        var fields = reader.ReadArrayHeader();
        if (fields < 3)
        {
            throw new ProtocolException($"event batch has {fields} fields, 3 are needed (the rank is missing)");
        }

        Timestamp = reader.ReadDouble();
        var count = reader.ReadArrayHeader();
        if (_events.Length < count)
        {
            _events = new EngineEvent[Math.Max(count, _events.Length * 2)];
        }

        for (var i = 0; i < count; i++)
        {
            ref var entry = ref _events[i];
            entry = default;
            if (reader.PeekType() == MessagePackType.Map)
            {
                ReadMap(ref reader, ref entry);
            }
            else
            {
                ReadArray(ref reader, ref entry);
            }
        }

        Rank = EngineEventFields.ReadUInt32(ref reader, "data_parallel_rank");
        _eventCount = count;
    }

    private void ReadHashes(ref MessagePackReader reader, ref EngineEvent entry)
    {
        var count = reader.ReadArrayHeader();
        EnsureRoom(ref _hashes, _hashCount, count);
        entry.HashStart = _hashCount;
        entry.HashCount = count;
        for (var i = 0; i < count; i++)
        {
            _hashes[_hashCount++] = ReadHash(ref reader);
        }
    }

    private ulong ReadHash(ref MessagePackReader reader)
    {
        switch (reader.PeekType())
        {
            case MessagePackType.Integer:
                return reader.ReadHashBits();
            case MessagePackType.Binary when _acceptsByteHashes:
                var digest = reader.ReadBinary();
                return digest.Length >= sizeof(ulong)
                    ? System.Buffers.Binary.BinaryPrimitives.ReadUInt64BigEndian(digest[^sizeof(ulong)..])
                    : throw new ProtocolException($"block hash of {digest.Length} bytes is below the limit {sizeof(ulong)}");
            default:
                throw new ProtocolException("block hash is no 64-bit integer");
        }
    }

    private void ReadTokens(ref MessagePackReader reader, ref EngineEvent entry)
    {
        var count = reader.ReadArrayHeader();
        EnsureRoom(ref _tokens, _tokenCount, count + 1);
        entry.TokenStart = _tokenCount;
        if (count > 0 && reader.PeekType() == MessagePackType.Array)
        {
            ReadBigrams(ref reader, ref entry, count);
            return;
        }

        reader.ReadUInt32s(_tokens.AsSpan(_tokenCount, count));
        _tokenCount += count;
        entry.TokenCount = count;
    }

    /// <summary>Pairs [a, b]: all first elements, then the last second one.</summary>
    private void ReadBigrams(ref MessagePackReader reader, ref EngineEvent entry, int count)
    {
        var second = 0u;
        for (var i = 0; i < count; i++)
        {
            if (reader.ReadArrayHeader() != 2)
            {
                throw new ProtocolException("token pair does not have 2 elements");
            }

            _tokens[_tokenCount++] = EngineEventFields.ReadUInt32(ref reader, "token");
            second = EngineEventFields.ReadUInt32(ref reader, "token");
        }

        _tokens[_tokenCount++] = second;
        entry.TokenCount = count + 1;
        entry.AreBigrams = true;
    }

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
                entry.Kind = EngineEventFields.ParseKind(reader.ReadStringBytes());
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
                EngineEventFields.ReadOptionalField(ref reader, ref entry, key);
            }
        }

        EngineEventFields.RequireFields(in entry, hasKind, hasHashes, hasTokens, hasBlockSize);
    }

    private BlockHash? ReadParent(ref MessagePackReader reader) => reader.TryReadNil() ? null : new BlockHash(ReadHash(ref reader));

    private void ReadArray(ref MessagePackReader reader, ref EngineEvent entry)
    {
        var fields = reader.ReadArrayHeader();
        if (fields == 0)
        {
            throw new ProtocolException("event has no type");
        }

        entry.Kind = EngineEventFields.ParseKind(reader.ReadStringBytes());
        var left = fields - 1;
        switch (entry.Kind)
        {
            case EngineEventKind.Stored:
                ReadStoredArray(ref reader, ref entry, ref left);
                break;
            case EngineEventKind.Removed:
                ReadHashes(ref reader, ref entry);
                left--;
                if (EngineEventFields.TakeField(ref left))
                {
                    entry.Medium = EngineEventFields.ReadOptionalText(ref reader);
                }

                EngineEventFields.ReadTail(ref reader, ref entry, left);
                break;
            case EngineEventKind.Cleared:
                if (EngineEventFields.TakeField(ref left))
                {
                    entry.Ownership = EngineEventFields.ReadOptionalText(ref reader);
                }

                EngineEventFields.SkipFields(ref reader, left);
                break;
            default:
                EngineEventFields.SkipFields(ref reader, left);
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
        if (EngineEventFields.TakeField(ref left))
        {
            reader.Skip(); // lora_id, deprecated
        }

        if (EngineEventFields.TakeField(ref left))
        {
            entry.Medium = EngineEventFields.ReadOptionalText(ref reader);
        }

        if (EngineEventFields.TakeField(ref left))
        {
            EngineEventFields.ReadNameOrMetadata(ref reader, ref entry);
        }

        if (EngineEventFields.TakeField(ref left))
        {
            entry.ExtraKeys = EngineEventFields.ReadOptionalArray(ref reader);
        }

        EngineEventFields.ReadTail(ref reader, ref entry, left);
    }

    // The count was checked against the bytes that are left, so a lying header cannot make this large.
    private static void EnsureRoom<T>(ref T[] buffer, int used, int more)
    {
        if (buffer.Length - used < more)
        {
            Array.Resize(ref buffer, Math.Max(used + more, buffer.Length * 2));
        }
    }
}
