using Dynamo.Vllm.Core.Metrics;

namespace Dynamo.Vllm.Core.Requests;

/// <summary>How many requests run and how many may wait for that. Beyond it a request is refused at once.</summary>
/// <remarks>Thread-safe. Who was admitted enters, and leaves once.</remarks>
internal sealed class RequestAdmission
{
    private readonly AdmissionLimits _limits;
    private readonly DispatcherMetrics _metrics;
    private readonly TimeProvider _time;
    private readonly SemaphoreSlim _slots;
    private int _admitted;

    public RequestAdmission(AdmissionLimits limits, DispatcherMetrics metrics, TimeProvider time)
    {
        _limits = limits;
        _metrics = metrics;
        _time = time;
        _slots = new SemaphoreSlim(limits.Running, limits.Running);
        metrics.PoolCapacity.Set(limits.Running);
        metrics.QueueCapacity.Set(limits.Queued);
    }

    public bool TryAdmit()
    {
        if (Interlocked.Increment(ref _admitted) <= (long)_limits.Running + _limits.Queued)
        {
            return true;
        }

        Interlocked.Decrement(ref _admitted);
        _metrics.EnqueueRejected.Inc();
        _metrics.Rejected.Inc();
        return false;
    }

    /// <summary>Waits for a place among the running.</summary>
    public async Task EnterAsync()
    {
        var started = _time.GetTimestamp();
        if (!_slots.Wait(0, CancellationToken.None))
        {
            _metrics.QueueDepth.Inc();
            _metrics.QueuedRequests.Inc();
            await _slots.WaitAsync();
            _metrics.QueueDepth.Dec();
            _metrics.QueuedRequests.Dec();
        }

        _metrics.PoolActive.Inc();
        _metrics.EngineRequests.Inc();
        _metrics.PermitWait.Observe(_time.GetElapsedTime(started).TotalSeconds);
    }

    public void Leave()
    {
        _metrics.PoolActive.Dec();
        _metrics.EngineRequests.Dec();
        Interlocked.Decrement(ref _admitted);
        _slots.Release();
    }
}
