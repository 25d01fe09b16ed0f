using System.Collections.Concurrent;
using System.Runtime.InteropServices;

namespace Dynamo.Vllm.Engine.Requests;

/// <summary>Readers that wait for what a batch brings: they are woken once all of it has been delivered. Owned by one loop.</summary>
/// <remarks>
/// Waking a thread of the pool costs as much as what a reader then does, an item and a write that does not wait. So a turn of the pool serves
/// a group of readers, and where there is but one group they go on in the loop itself, up to where each waits next. A reader whose stream
/// has ended has more to do and always gets a turn of its own. docs/benchmarks.md, "The token path".
/// </remarks>
internal sealed class StreamWakes
{
    /// <summary>The last reader of a group is late by what the others do: 16 items take about 0.1 ms.</summary>
    private const int GroupMax = 16;

    private readonly List<EngineStream> _running = [];
    private readonly List<EngineStream> _ended = [];
    private readonly ConcurrentQueue<Group> _free = new();

    /// <param name="stream">Its reader waits.</param>
    /// <param name="hasEnded">Nothing comes after this.</param>
    public void Add(EngineStream stream, bool hasEnded) => (hasEnded ? _ended : _running).Add(stream);

    /// <summary>After the whole batch: a busy engine puts several steps into one, and their tokens leave in one item each.</summary>
    public void Run()
    {
        foreach (var stream in _ended)
        {
            stream.Wake();
        }

        var running = CollectionsMarshal.AsSpan(_running);
        if (running.Length <= GroupMax)
        {
            foreach (var stream in running)
            {
                stream.WakeHere();
            }
        }
        else
        {
            Spread(running);
        }

        _ended.Clear();
        _running.Clear();
    }

    private void Spread(ReadOnlySpan<EngineStream> streams)
    {
        while (!streams.IsEmpty)
        {
            var group = _free.TryDequeue(out var free) ? free : new Group(_free);
            var count = Math.Min(GroupMax, streams.Length);
            group.Fill(streams[..count]);
            ThreadPool.UnsafeQueueUserWorkItem(group, preferLocal: false);
            streams = streams[count..];
        }
    }

    /// <summary>Used again and again: nothing is allocated per step.</summary>
    private sealed class Group(ConcurrentQueue<Group> free) : IThreadPoolWorkItem
    {
        private readonly List<EngineStream> _streams = new(GroupMax);

        public void Fill(ReadOnlySpan<EngineStream> streams) => _streams.AddRange(streams);

        public void Execute()
        {
            foreach (var stream in _streams)
            {
                stream.WakeHere();
            }

            _streams.Clear();
            free.Enqueue(this);
        }
    }
}
