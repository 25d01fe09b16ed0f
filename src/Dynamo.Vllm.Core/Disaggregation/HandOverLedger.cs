using Dynamo.Vllm.Core.Engines;
using Prometheus;

namespace Dynamo.Vllm.Core.Disaggregation;

/// <summary>Hand-overs of a prefill worker whose blocks the decode side may not have pulled yet. Thread-safe.</summary>
/// <remarks>
/// The engine tells nobody when blocks were pulled, so an entry ends with its lease, or when an engine step shows an empty cache with
/// nothing running; under steady load the count is therefore an upper bound. The other way round an idle engine whose cache is not empty
/// still holds blocks, however old they are: the decode side renews the lease of a request that it has queued. The engine makes steps as
/// long as it holds any, so what it showed last is true. Bounded by the lease: the engine's cache is full long before.
/// </remarks>
public sealed class HandOverLedger
{
    private readonly Lock _lock = new();
    private readonly Queue<long> _started = new();
    private readonly Dictionary<int, EngineLoad> _loads = [];
    private readonly int _ranks;
    private readonly TimeSpan _lease;
    private readonly TimeProvider _time;
    private readonly Counter _total;
    private long? _newest;
    private bool _isHeldWhileIdle;

    /// <param name="lease">How long the engine keeps blocks that nobody pulls.</param>
    /// <param name="time">Clock.</param>
    /// <param name="registry">Takes the count and age of pending hand-overs.</param>
    /// <param name="ranks">Data-parallel ranks: the cache is empty when it is on each of them.</param>
    public HandOverLedger(TimeSpan lease, TimeProvider time, CollectorRegistry registry, int ranks = 1)
    {
        _ranks = ranks;
        _lease = lease;
        _time = time;
        var factory = Prometheus.Metrics.WithCustomRegistry(registry);
        _total = factory.CreateCounter("dynamo_vllm_prefill_handovers_total", "Prefill results handed to a decode worker.");
        var pending = factory.CreateGauge(
            "dynamo_vllm_prefill_handovers_pending",
            "Prefill results whose blocks may still be held for the decode side."
        );
        var age = factory.CreateGauge("dynamo_vllm_prefill_handover_oldest_seconds", "Age of the oldest pending hand-over.");
        registry.AddBeforeCollectCallback(() =>
        {
            pending.Set(Pending);
            age.Set(OldestAge.TotalSeconds);
        });
    }

    public int Pending
    {
        get
        {
            lock (_lock)
            {
                Expire();
                return Math.Max(_started.Count, HeldSince is null ? 0 : 1);
            }
        }
    }

    private TimeSpan OldestAge
    {
        get
        {
            lock (_lock)
            {
                Expire();
                return HeldSince is { } since ? _time.GetElapsedTime(since) : TimeSpan.Zero;
            }
        }
    }

    /// <summary>When the oldest of what may still be held was handed over, as far
    /// as that is known. Under the lock, after <see cref="Expire"/>.</summary>
    private long? HeldSince =>
        _started.TryPeek(out var oldest) ? oldest
        : _isHeldWhileIdle ? _newest
        : null;

    public void Add()
    {
        _total.Inc();
        lock (_lock)
        {
            Expire();
            _newest = _time.GetTimestamp();
            _started.Enqueue(_newest.Value);
        }
    }

    /// <summary>Load of the engine after a step.</summary>
    public void Observe(EngineLoad load)
    {
        lock (_lock)
        {
            _loads[load.Rank] = load;
            var isIdle = _loads.Count >= _ranks && _loads.Values.All(rank => rank is { Running: 0, Waiting: 0 });
            _isHeldWhileIdle = isIdle && _loads.Values.Any(rank => rank.KvCacheUsage > 0);
            if (isIdle && !_isHeldWhileIdle)
            {
                _started.Clear();
                _newest = null;
            }
        }
    }

    /// <summary>Returns when no hand-over is pending: all pulled, or every lease over and the engine has let go.</summary>
    public async Task WhenEmptyAsync(CancellationToken cancellationToken)
    {
        while (Pending > 0)
        {
            await Task.Delay(TimeSpan.FromMilliseconds(200), _time, cancellationToken);
        }
    }

    private void Expire()
    {
        while (_started.TryPeek(out var oldest) && _time.GetElapsedTime(oldest) >= _lease)
        {
            _started.Dequeue();
        }
    }
}
