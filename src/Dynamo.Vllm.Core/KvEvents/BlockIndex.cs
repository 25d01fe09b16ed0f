using System.Runtime.InteropServices;
using Dynamo.Vllm.Protocol.KvEvents;

namespace Dynamo.Vllm.Core.KvEvents;

/// <summary>What routers believe this rank holds, and how often each block
/// was stored. Not thread-safe: its owner's lock guards it.</summary>
internal sealed class BlockIndex
{
    private readonly Dictionary<BlockHash, IndexedBlock>[] _tiers;
    private long _order;

    public BlockIndex()
    {
        _tiers = new Dictionary<BlockHash, IndexedBlock>[StorageTiers.Count];
        for (var i = 0; i < _tiers.Length; i++)
        {
            _tiers[i] = [];
        }
    }

    /// <summary>Blocks over all tiers.</summary>
    public int Count { get; private set; }

    public void Store(StorageTier tier, BlockHash? parent, ReadOnlySpan<KvBlock> blocks)
    {
        var index = _tiers[(int)tier];
        foreach (ref readonly var block in blocks)
        {
            ref var entry = ref CollectionsMarshal.GetValueRefOrAddDefault(index, block.Hash, out var exists);
            if (!exists)
            {
                Count++;
                entry.Order = _order++;
            }

            entry.References++;
            entry.Parent = parent;
            entry.Tokens = block.Tokens;
            entry.Media = block.Media;
            parent = block.Hash;
        }
    }

    /// <summary>Takes a reference off each block, and keeps at the front of
    /// <paramref name="blocks"/> those that routers must be told of.</summary>
    /// <returns>How many these are: blocks without references left, and blocks that were never stored.</returns>
    public int Remove(StorageTier tier, Span<KvBlock> blocks)
    {
        var index = _tiers[(int)tier];
        var kept = 0;
        for (var i = 0; i < blocks.Length; i++)
        {
            var hash = blocks[i].Hash;
            ref var entry = ref CollectionsMarshal.GetValueRefOrNullRef(index, hash);
            if (!System.Runtime.CompilerServices.Unsafe.IsNullRef(ref entry))
            {
                if (--entry.References > 0)
                {
                    continue;
                }

                index.Remove(hash);
                Count--;
            }

            blocks[kept++] = blocks[i];
        }

        return kept;
    }

    public void Clear()
    {
        foreach (var tier in _tiers)
        {
            tier.Clear();
        }

        Count = 0;
    }

    /// <summary>A copy of one tier, oldest block first once sorted by its reader.</summary>
    public List<KeyValuePair<BlockHash, IndexedBlock>> Copy(StorageTier tier) => [.. _tiers[(int)tier]];
}
