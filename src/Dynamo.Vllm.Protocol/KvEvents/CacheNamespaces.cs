namespace Dynamo.Vllm.Protocol.KvEvents;

/// <summary>Under which cache salt each block was stored, so that children, which name none, inherit it.</summary>
/// <remarks>A salt is kept as its share of the hash seed; 0 is no salt.</remarks>
internal sealed class CacheNamespaces
{
    private readonly Dictionary<BlockHash, Entry> _entries = [];

    /// <summary>Salt of a parent. False when it was seen under two.</summary>
    public bool TryInherit(BlockHash parent, out ulong saltHash)
    {
        if (!_entries.TryGetValue(parent, out var entry))
        {
            saltHash = 0;
            return true;
        }

        saltHash = entry.SaltHash;
        return !entry.IsAmbiguous;
    }

    public void Remember(BlockHash block, ulong saltHash)
    {
        ref var entry = ref System.Runtime.InteropServices.CollectionsMarshal.GetValueRefOrAddDefault(_entries, block, out var exists);
        entry = exists && (entry.IsAmbiguous || entry.SaltHash != saltHash) ? new(0, true) : new(saltHash, false);
    }

    public void Forget(BlockHash block) => _entries.Remove(block);

    public void Clear() => _entries.Clear();

    private readonly record struct Entry(ulong SaltHash, bool IsAmbiguous);
}
