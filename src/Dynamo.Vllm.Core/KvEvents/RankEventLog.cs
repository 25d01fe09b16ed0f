using System.Buffers;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Protocol.KvEvents;

namespace Dynamo.Vllm.Core.KvEvents;

/// <summary>What one rank has told routers: ids, the index, and the newest events. Thread-safe; one writer.</summary>
/// <remarks>
/// One lock covers id, index and ring, so that an answer is a consistent cut: every event up to its id is in it, none after.
/// A new identity of the worker empties the ring, since its events name the old one; routers are given a dump.
/// </remarks>
internal sealed class RankEventLog
{
    private readonly Lock _lock = new();
    private readonly BlockIndex _index = new();
    private readonly EventRing _ring = new();
    private readonly uint _rank;
    private readonly int _blocksMax;
    private InstanceId _worker;
    private ulong _lastId;

    /// <param name="rank">Global rank.</param>
    /// <param name="blocksMax">Blocks in the index. More means that removals were lost, and all is cleared.</param>
    public RankEventLog(int rank, int blocksMax)
    {
        _rank = (uint)rank;
        _blocksMax = blocksMax;
    }

    public int BlockCount
    {
        get
        {
            lock (_lock)
            {
                return _index.Count;
            }
        }
    }

    /// <summary>Gives ids to the events that routers must hear of, keeps
    /// them, and adds them encoded to <paramref name="output"/>.</summary>
    /// <returns>False if the index is over its limit: the caller then appends a clear.</returns>
    public bool Append(InstanceId worker, RouterEventList events, ReadOnlySpan<byte> payload, OutgoingEvents output)
    {
        lock (_lock)
        {
            AdoptIdentity(worker);
            foreach (ref var entry in events.Events)
            {
                var blocks = events.Blocks(in entry);
                switch (entry.Kind)
                {
                    case RouterEventKind.Stored:
                        _index.Store(entry.Tier, entry.Parent, blocks);
                        break;
                    case RouterEventKind.Removed:
                        blocks = blocks[.._index.Remove(entry.Tier, blocks)];
                        if (blocks.IsEmpty)
                        {
                            continue; // still held by another store; takes no id
                        }

                        break;
                    default:
                        _index.Clear();
                        break;
                }

                var start = output.Begin();
                RouterEventEncoder.Write(output.Buffer, worker.Value, _rank, ++_lastId, in entry, blocks, entry.SessionId.In(payload));
                _ring.Add(_lastId, output.End(start, blocks.Length));
            }

            return _index.Count <= _blocksMax;
        }
    }

    /// <summary>Writes the answer to a query that was checked for worker and rank.</summary>
    public QueryAnswerKind Answer(InstanceId worker, KvQuery query, IBufferWriter<byte> output)
    {
        List<KeyValuePair<BlockHash, IndexedBlock>>[] tiers;
        ulong lastId;
        lock (_lock)
        {
            AdoptIdentity(worker);
            lastId = _lastId;
            if (query.Start is { } start)
            {
                if (query.End is { } end && end < start)
                {
                    KvQueryAnswer.WriteInvalidRange(output, start, end);
                    return QueryAnswerKind.InvalidRange;
                }

                if (_ring.Count > 0 && start > lastId)
                {
                    KvQueryAnswer.WriteTooNew(output, start, query.End, lastId);
                    return QueryAnswerKind.TooNew;
                }

                if (_ring.Count > 0 && start >= _ring.Oldest)
                {
                    WriteRange(start, output);
                    return QueryAnswerKind.Events;
                }
            }

            tiers = new List<KeyValuePair<BlockHash, IndexedBlock>>[StorageTiers.Count];
            for (var i = 0; i < tiers.Length; i++)
            {
                tiers[i] = _index.Copy((StorageTier)i);
            }
        }

        return WriteDump(worker, tiers, lastId, query.SupportsDumpFailed, output);
    }

    private void AdoptIdentity(InstanceId worker)
    {
        if (_worker != worker)
        {
            _worker = worker;
            _ring.Clear();
        }
    }

    private void WriteRange(ulong start, IBufferWriter<byte> output)
    {
        KvQueryAnswer.BeginEvents(output, (int)(_lastId - start + 1));
        for (var id = start; id <= _lastId; id++)
        {
            output.Write(_ring[id]);
        }

        KvQueryAnswer.EndEvents(output, _lastId);
    }

    /// <summary>Outside the lock: sorting and encoding a large index takes a while.</summary>
    private QueryAnswerKind WriteDump(
        InstanceId worker,
        List<KeyValuePair<BlockHash, IndexedBlock>>[] tiers,
        ulong lastId,
        bool supportsFailure,
        IBufferWriter<byte> output
    )
    {
        var events = new ArrayBufferWriter<byte>(1024);
        var dump = new TreeDump(events, worker.Value, _rank);
        for (var i = 0; i < tiers.Length; i++)
        {
            dump.WriteTier((StorageTier)i, tiers[i]);
        }

        if (events.WrittenCount > KvRelayLimits.DumpBytesMax)
        {
            var text = $"dump of {events.WrittenCount} bytes is above the limit {KvRelayLimits.DumpBytesMax}";
            if (supportsFailure)
            {
                KvQueryAnswer.WriteTreeDumpFailed(output, lastId, text);
            }
            else
            {
                KvQueryAnswer.WriteError(output, text);
            }

            return QueryAnswerKind.Failed;
        }

        KvQueryAnswer.BeginTreeDump(output, dump.Events);
        output.Write(events.WrittenSpan);
        KvQueryAnswer.EndTreeDump(output, lastId);
        return QueryAnswerKind.TreeDump;
    }
}
