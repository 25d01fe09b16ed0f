using Dynamo.Vllm.Core.Engines;

namespace Dynamo.Vllm.Core.KvEvents;

/// <summary>Notices a rank that fills blocks while none of its events arrive.
/// Load comes from the engine's loop, the question from the watch.</summary>
internal sealed class RankSelfTest
{
    /// <summary>How often the watch looks.</summary>
    public static readonly TimeSpan Interval = TimeSpan.FromSeconds(5);

    /// <summary>Events travel in milliseconds; this much later there is no excuse.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    private readonly TimeProvider _time;
    private long _filledAt;
    private bool _hasWarned;

    public RankSelfTest(KvRankRelay relay, TimeProvider time)
    {
        Relay = relay;
        _time = time;
    }

    public KvRankRelay Relay { get; }

    /// <summary>
    /// A request has at most one partial block per cache group, and a partial block is no
    /// event. Twice as many blocks as requests, and some, mean that blocks were filled.
    /// </summary>
    public void Observe(EngineLoad load, long blocks)
    {
        if (Volatile.Read(ref _filledAt) == 0 && load.Running > 0 && blocks * load.KvCacheUsage >= (2.0 * load.Running) + 2)
        {
            Volatile.Write(ref _filledAt, Math.Max(1, _time.GetTimestamp()));
        }
    }

    /// <summary>True once, when the patience is over.</summary>
    public bool IsSilent()
    {
        var filledAt = Volatile.Read(ref _filledAt);
        if (_hasWarned || filledAt == 0 || Relay.Batches > 0 || _time.GetElapsedTime(filledAt) < Patience)
        {
            return false;
        }

        _hasWarned = true;
        return true;
    }
}
