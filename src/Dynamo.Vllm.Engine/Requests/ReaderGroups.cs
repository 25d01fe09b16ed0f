using System.Collections.Concurrent;

namespace Dynamo.Vllm.Engine.Requests;

/// <summary>Wakes readers in turns of the thread pool, sixteen in each. Thread-safe.</summary>
internal sealed class ReaderGroups
{
    /// <summary>The last reader of a group is late by what the others do: 16 items take about 0.1 ms.</summary>
    public const int ReadersMax = 16;

    private readonly ConcurrentQueue<Group> _free = new();

    public void Wake(ReadOnlySpan<EngineStream> streams)
    {
        while (!streams.IsEmpty)
        {
            var group = _free.TryDequeue(out var free) ? free : new Group(_free);
            var count = Math.Min(ReadersMax, streams.Length);
            group.Fill(streams[..count]);
            ThreadPool.UnsafeQueueUserWorkItem(group, preferLocal: false);
            streams = streams[count..];
        }
    }

    /// <summary>Used again and again: nothing is allocated per step.</summary>
    private sealed class Group(ConcurrentQueue<Group> free) : IThreadPoolWorkItem
    {
        private readonly List<EngineStream> _streams = new(ReadersMax);

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
