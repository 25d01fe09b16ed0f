using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.Protocol.KvEvents;

/// <summary>Turns engine events of one rank into router events: filters, hashes, merges. One caller.</summary>
/// <remarks>
/// For each event: 1. owner, kind, locality; 2. medium; 3. cache group; 4. cache salt; 5. blocks and their hashes; 6. duplicates; 7. merge.
/// Steps 3 and 4 refuse nothing on disk and external tiers. Learned groups and salts carry over from batch to batch.
/// Without media nothing is allocated but the growth of buffers. kv-and-load.md, 4.
/// Golden files: tests/golden/kv/conversion-cases.json, conversion-cases-multimodal.json.
/// </remarks>
public sealed class KvEventConverter
{
    private readonly uint _blockSize;
    private readonly MediaPlaceholders _placeholders;
    private readonly AttentionGroups _groups = new();
    private readonly CacheNamespaces _namespaces = new();
    private readonly HashSet<BlockHash> _seen = [];
    private readonly long[] _dropped = new long[Enum.GetValues<EventDropReason>().Length];

    private readonly int[] _received = new int[Enum.GetValues<EngineEventKind>().Length];
    private readonly int[] _accepted = new int[Enum.GetValues<EngineEventKind>().Length];

    public KvEventConverter(KvEventConversion options)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(options.BlockSize, 1);
        _blockSize = (uint)options.BlockSize;
        _placeholders = new MediaPlaceholders(options.ImageToken, options.VideoToken);
    }

    /// <summary>Engine events dropped so far for the reason.</summary>
    public long Dropped(EventDropReason reason) => _dropped[(int)reason];

    /// <summary>Engine events of the kind in the last batch.</summary>
    public int ReceivedLast(EngineEventKind kind) => _received[(int)kind];

    /// <summary>Those of them that became router events.</summary>
    public int AcceptedLast(EngineEventKind kind) => _accepted[(int)kind];

    /// <summary>Replaces <paramref name="output"/> with the router events of a decoded batch.</summary>
    /// <exception cref="ProtocolException">Keys of a block are malformed;
    /// what came before them stays in <paramref name="output"/>.</exception>
    public void Convert(EngineEventBatch batch, ReadOnlySpan<byte> payload, RouterEventList output)
    {
        output.Clear();
        Array.Clear(_received);
        Array.Clear(_accepted);
        foreach (ref readonly var entry in batch.Events)
        {
            var dropped = Refuse(in entry, payload, out var tier) ?? ConvertAccepted(batch, in entry, payload, tier, output);
            _received[(int)entry.Kind]++;
            if (dropped is { } reason)
            {
                _dropped[(int)reason]++;
            }
            else
            {
                _accepted[(int)entry.Kind]++;
            }
        }
    }

    /// <summary>Forgets salts, as after a clear.</summary>
    public void ForgetBlocks() => _namespaces.Clear();

    private EventDropReason? Refuse(in EngineEvent entry, ReadOnlySpan<byte> payload, out StorageTier tier)
    {
        tier = StorageTier.Device;
        if (entry.Ownership.IsPresent)
        {
            return EventDropReason.Owned;
        }

        if (entry.Kind == EngineEventKind.Ignored)
        {
            return EventDropReason.Ignored;
        }

        if (entry.Locality.IsPresent && !entry.Locality.In(payload).SequenceEqual("LOCAL"u8))
        {
            return EventDropReason.Remote;
        }

        if (entry.Kind == EngineEventKind.Cleared)
        {
            return null;
        }

        if (!StorageTiers.TryParse(entry.Medium.In(payload), out tier))
        {
            return EventDropReason.UnknownMedium;
        }

        return IsMatchedInEngine(tier) && !IsMainAttention(in entry, payload) ? EventDropReason.NotMainAttention : null;
    }

    /// <summary>Tiers of which the engine's own groups and salts are known.</summary>
    private static bool IsMatchedInEngine(StorageTier tier) => tier is StorageTier.Device or StorageTier.HostPinned;

    private bool IsMainAttention(in EngineEvent entry, ReadOnlySpan<byte> payload)
    {
        if (!entry.SpecKind.IsPresent)
        {
            return entry.Group is not { } group || _groups.IsMain(group);
        }

        var isMain = AttentionGroups.IsMainKind(entry.SpecKind.In(payload));
        if (entry.Group is { } named && entry.Kind == EngineEventKind.Stored)
        {
            _groups.Learn(named, isMain);
        }

        return isMain;
    }

    private EventDropReason? ConvertAccepted(
        EngineEventBatch batch,
        in EngineEvent entry,
        ReadOnlySpan<byte> payload,
        StorageTier tier,
        RouterEventList output
    )
    {
        var mark = output.Mark();
        switch (entry.Kind)
        {
            case EngineEventKind.Cleared:
                _namespaces.Clear();
                output.AddEvent(RouterEventKind.Cleared, StorageTier.Device, null, default, payload, mark);
                return null;
            case EngineEventKind.Removed:
                foreach (var hash in batch.Hashes(in entry))
                {
                    var block = new BlockHash(hash);
                    _namespaces.Forget(block);
                    output.AddBlock(new KvBlock(block, default, null));
                }

                output.AddEvent(RouterEventKind.Removed, tier, null, default, payload, mark);
                return null;
            default:
                return ConvertStored(batch, in entry, payload, tier, output, mark);
        }
    }

    private EventDropReason? ConvertStored(
        EngineEventBatch batch,
        in EngineEvent entry,
        ReadOnlySpan<byte> payload,
        StorageTier tier,
        RouterEventList output,
        int mark
    )
    {
        var lora = entry.LoraName.In(payload);
        if (!TryFindSalt(in entry, payload, lora, tier, out var saltHash))
        {
            return EventDropReason.AmbiguousSalt;
        }

        AddBlocks(batch, in entry, payload, BlockHasher.Seed(BlockHasher.HashLora(lora), saltHash), output);
        var blocks = output.BlocksSince(mark);
        if (HasDuplicate(blocks, entry.Parent))
        {
            output.ReturnTo(mark);
            return EventDropReason.DuplicateBlock;
        }

        if (IsMatchedInEngine(tier))
        {
            foreach (ref readonly var block in blocks)
            {
                _namespaces.Remember(block.Hash, saltHash);
            }
        }

        output.AddEvent(RouterEventKind.Stored, tier, entry.Parent, entry.SessionId, payload, mark);
        return null;
    }

    private bool TryFindSalt(
        in EngineEvent entry,
        ReadOnlySpan<byte> payload,
        ReadOnlySpan<byte> lora,
        StorageTier tier,
        out ulong saltHash
    )
    {
        var salt = entry.CacheSalt.In(payload);
        if (salt.IsEmpty && entry.ExtraKeys.IsPresent)
        {
            salt = ExtraKeys.FindSalt(entry.ExtraKeys.In(payload), lora);
        }

        saltHash = BlockHasher.HashSalt(salt);
        if (!salt.IsEmpty || entry.Parent is not { } parent)
        {
            return true;
        }

        return _namespaces.TryInherit(parent, out saltHash) || !IsMatchedInEngine(tier);
    }

    /// <summary>Cuts blocks until one has another size or too few tokens; what was cut so far counts, as in the reference.</summary>
    private void AddBlocks(EngineEventBatch batch, in EngineEvent entry, ReadOnlySpan<byte> payload, ulong seed, RouterEventList output)
    {
        if (entry.BlockSize != _blockSize)
        {
            return;
        }

        var blockSize = (int)_blockSize;
        var window = entry.AreBigrams ? blockSize + 1 : blockSize;
        var tokens = batch.Tokens(in entry);
        var hashes = batch.Hashes(in entry);
        var media = new MediaCursor(in entry, payload);
        for (var i = 0; i < hashes.Length && tokens.Length >= window; i++)
        {
            var found = media.Next();
            var blockTokens = tokens[..window];
            var hash = found is null ? BlockHasher.HashTokens(blockTokens, seed) : _placeholders.Hash(blockTokens, found, seed);
            output.AddBlock(new KvBlock(new BlockHash(hashes[i]), hash, found));
            tokens = tokens[blockSize..];
        }
    }

    private bool HasDuplicate(ReadOnlySpan<KvBlock> blocks, BlockHash? parent)
    {
        if (blocks.Length == 1)
        {
            return blocks[0].Hash == parent;
        }

        _seen.Clear();
        foreach (ref readonly var block in blocks)
        {
            if (!_seen.Add(block.Hash) || block.Hash == parent)
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Walks the media of an event block by block.</summary>
    private ref struct MediaCursor
    {
        private readonly bool _hasInfos;
        private MessagePackReader _reader;
        private int _left;

        public MediaCursor(in EngineEvent entry, ReadOnlySpan<byte> payload)
        {
            _hasInfos = entry.MediaInfos.IsPresent;
            var source = _hasInfos ? entry.MediaInfos : entry.ExtraKeys;
            if (source.IsPresent)
            {
                _reader = new MessagePackReader(source.In(payload));
                _left = _reader.ReadArrayHeader();
            }
        }

        public MediaObject[]? Next()
        {
            if (_left <= 0)
            {
                return null; // a list that is too short says nothing about the rest
            }

            _left--;
            return _hasInfos ? ExtraKeys.ReadMediaInfo(ref _reader) : ExtraKeys.ReadMedia(ref _reader);
        }
    }
}
