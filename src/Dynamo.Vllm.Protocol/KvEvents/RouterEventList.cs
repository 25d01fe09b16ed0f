namespace Dynamo.Vllm.Protocol.KvEvents;

/// <summary>Events of one engine batch for routers, merged where neighbours continue each other. Reused; allocates only to grow.</summary>
/// <remarks>
/// Stores merge when the next one's parent is the last block so far, removes always; both only within a tier and a session.
/// An event that has reached <see cref="MergedBlocksMax"/> takes no more, and none is ever split (kv-and-load.md, 4).
/// </remarks>
public sealed class RouterEventList
{
    public const int MergedBlocksMax = 128;

    private RouterEvent[] _events = new RouterEvent[16];
    private KvBlock[] _blocks = new KvBlock[256];
    private int _eventCount;
    private int _blockCount;

    public Span<RouterEvent> Events => _events.AsSpan(0, _eventCount);

    /// <summary>Blocks of an event. Removed blocks have a hash only.</summary>
    public Span<KvBlock> Blocks(in RouterEvent entry) => _blocks.AsSpan(entry.BlockStart, entry.BlockCount);

    public void Clear()
    {
        _eventCount = 0;
        if (_blockCount > 0)
        {
            // Media are references, and keeping them would keep their objects alive.
            Array.Clear(_blocks, 0, _blockCount);
            _blockCount = 0;
        }
    }

    /// <summary>Replaces what is here with one event: the rank holds nothing.</summary>
    public void SetCleared()
    {
        Clear();
        AddEvent(RouterEventKind.Cleared, StorageTier.Device, null, default, default, 0);
    }

    /// <summary>Position to return to when an event turns out to be unusable.</summary>
    internal int Mark() => _blockCount;

    internal void ReturnTo(int mark) => _blockCount = mark;

    internal void AddBlock(in KvBlock block)
    {
        if (_blockCount == _blocks.Length)
        {
            Array.Resize(ref _blocks, _blocks.Length * 2);
        }

        _blocks[_blockCount++] = block;
    }

    internal ReadOnlySpan<KvBlock> BlocksSince(int mark) => _blocks.AsSpan(mark, _blockCount - mark);

    /// <summary>Makes an event of the blocks that were added since <paramref name="mark"/>.</summary>
    internal void AddEvent(
        RouterEventKind kind,
        StorageTier tier,
        BlockHash? parent,
        ByteRange session,
        ReadOnlySpan<byte> payload,
        int mark
    )
    {
        var count = _blockCount - mark;
        if (_eventCount > 0 && kind != RouterEventKind.Cleared)
        {
            ref var last = ref _events[_eventCount - 1];
            if (
                last.Kind == kind
                && last.Tier == tier
                && last.BlockCount < MergedBlocksMax
                && Continues(in last, parent)
                && last.SessionId.IsPresent == session.IsPresent
                && last.SessionId.In(payload).SequenceEqual(session.In(payload))
            )
            {
                last.BlockCount += count;
                return;
            }
        }

        if (_eventCount == _events.Length)
        {
            Array.Resize(ref _events, _events.Length * 2);
        }

        _events[_eventCount++] = new RouterEvent
        {
            Kind = kind,
            Tier = tier,
            Parent = parent,
            BlockStart = mark,
            BlockCount = count,
            SessionId = session,
        };
    }

    private bool Continues(in RouterEvent last, BlockHash? parent) =>
        last.Kind == RouterEventKind.Removed
        || (parent is { } hash && last.BlockCount > 0 && _blocks[last.BlockStart + last.BlockCount - 1].Hash == hash);
}
