using System.Buffers;
using Dynamo.Vllm.Protocol.KvEvents;

namespace Dynamo.Vllm.Core.KvEvents;

/// <summary>Writes a copy of the index as stored events: parents before children, chains as one event.</summary>
/// <remarks>
/// Ids are synthetic, from 0 in each tier. A block whose chain to the start is broken is left out: routers could not attach it.
/// kv-and-load.md, 8. Golden file: tests/golden/kv/kv-query-official.json.
/// </remarks>
internal sealed class TreeDump
{
    private readonly ArrayBufferWriter<byte> _output;
    private readonly ulong _workerId;
    private readonly uint _rank;
    private readonly KvBlock[] _run = new KvBlock[RouterEventList.MergedBlocksMax];
    private int _runLength;
    private BlockHash? _runParent;
    private StorageTier _tier;
    private ulong _nextId;

    public TreeDump(ArrayBufferWriter<byte> output, ulong workerId, uint rank)
    {
        _output = output;
        _workerId = workerId;
        _rank = rank;
    }

    public int Events { get; private set; }

    /// <summary>Blocks that were left out.</summary>
    public int Orphans { get; private set; }

    public void WriteTier(StorageTier tier, List<KeyValuePair<BlockHash, IndexedBlock>> blocks)
    {
        _tier = tier;
        _nextId = 0;
        blocks.Sort(static (a, b) => a.Value.Order.CompareTo(b.Value.Order));
        var written = new HashSet<BlockHash>(blocks.Count);
        var waiting = new Dictionary<BlockHash, List<KeyValuePair<BlockHash, IndexedBlock>>>();
        var ready = new Stack<KeyValuePair<BlockHash, IndexedBlock>>();
        foreach (var block in blocks)
        {
            if (block.Value.Parent is { } parent && !written.Contains(parent))
            {
                // Its parent was stored again later, or is gone.
                (waiting.TryGetValue(parent, out var siblings) ? siblings : waiting[parent] = []).Add(block);
                continue;
            }

            ready.Push(block);
            while (ready.TryPop(out var next))
            {
                written.Add(next.Key);
                Append(next.Key, next.Value);
                if (waiting.Remove(next.Key, out var children))
                {
                    children.ForEach(ready.Push);
                }
            }
        }

        EndRun();
        Orphans += blocks.Count - written.Count;
    }

    private void Append(BlockHash hash, in IndexedBlock block)
    {
        if (_runLength == _run.Length || (_runLength > 0 && block.Parent != _run[_runLength - 1].Hash))
        {
            EndRun();
        }

        if (_runLength == 0)
        {
            _runParent = block.Parent;
        }

        _run[_runLength++] = new KvBlock(hash, block.Tokens, block.Media);
    }

    private void EndRun()
    {
        if (_runLength == 0)
        {
            return;
        }

        var entry = new RouterEvent
        {
            Kind = RouterEventKind.Stored,
            Tier = _tier,
            Parent = _runParent,
        };
        RouterEventEncoder.Write(_output, _workerId, _rank, _nextId++, in entry, _run.AsSpan(0, _runLength), []);
        Events++;
        _runLength = 0;
    }
}
