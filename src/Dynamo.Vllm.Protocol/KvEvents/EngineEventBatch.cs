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
public sealed partial class EngineEventBatch
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

        Rank = ReadUInt32(ref reader, "data_parallel_rank");
        _eventCount = count;
    }

    private static EngineEventKind ParseKind(ReadOnlySpan<byte> kind)
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

    private static uint ReadUInt32(ref MessagePackReader reader, string field)
    {
        var value = reader.ReadUInt64();
        return value <= uint.MaxValue ? (uint)value : throw new ProtocolException($"{field} {value} is above the limit {uint.MaxValue}");
    }

    private static ByteRange ReadOptionalText(ref MessagePackReader reader)
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
    private static ByteRange ReadOptionalArray(ref MessagePackReader reader)
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

            _tokens[_tokenCount++] = ReadUInt32(ref reader, "token");
            second = ReadUInt32(ref reader, "token");
        }

        _tokens[_tokenCount++] = second;
        entry.TokenCount = count + 1;
        entry.AreBigrams = true;
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
