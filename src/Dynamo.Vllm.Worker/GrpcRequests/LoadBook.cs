using System.Collections.Immutable;
using Dynamo.Vllm.Core.Engines;

namespace Dynamo.Vllm.Worker.GrpcRequests;

/// <summary>The last load of each rank. Thread-safe; the engine's delivery loop alone writes.</summary>
internal sealed class LoadBook : IDisposable
{
    private readonly IEngine _engine;
    private readonly int _start;
    private ImmutableArray<EngineLoad> _byRank;

    /// <param name="engine">Runs.</param>
    public LoadBook(IEngine engine)
    {
        _engine = engine;
        _start = engine.Description.DataParallelStart;
        _byRank =
        [
            .. Enumerable.Range(_start, Math.Max(1, engine.Description.DataParallelSize)).Select(rank => new EngineLoad(rank, 0, 0, 0)),
        ];
        engine.LoadChanged += Observe;
    }

    /// <summary>By global rank, the lowest first; zeros before its first step.</summary>
    public ImmutableArray<EngineLoad> Latest => ImmutableInterlocked.InterlockedCompareExchange(ref _byRank, default, default);

    /// <param name="rank">Global, one of this worker's.</param>
    public EngineLoad Of(int rank) => Latest[rank - _start];

    public void Dispose() => _engine.LoadChanged -= Observe;

    /// <summary>vLLM gives the global rank where it manages several; an engine that counts from 0 is understood, too.</summary>
    private void Observe(EngineLoad load)
    {
        var index = load.Rank >= _start && load.Rank < _start + _byRank.Length ? load.Rank - _start : load.Rank;
        if (index >= 0 && index < _byRank.Length)
        {
            ImmutableInterlocked.Update(
                ref _byRank,
                static (ranks, change) => ranks.SetItem(change.Index, change.Load),
                (Index: index, Load: load with { Rank = _start + index })
            );
        }
    }
}
