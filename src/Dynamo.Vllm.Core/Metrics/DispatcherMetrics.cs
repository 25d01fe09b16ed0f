using Prometheus;

namespace Dynamo.Vllm.Core.Metrics;

/// <summary>Families of the request dispatcher, per process (runtime.md, 5).</summary>
public sealed class DispatcherMetrics
{
    public DispatcherMetrics(MetricFactory factory)
    {
        static HistogramConfiguration Buckets(params double[] bounds) => new() { Buckets = bounds };
        Transit = factory.CreateHistogram(
            "dynamo_work_handler_network_transit_seconds",
            "Frontend-to-backend network transit time (cross-process wall-clock, seconds)",
            Buckets(0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1)
        );
        TimeToFirstResponse = factory.CreateHistogram(
            "dynamo_work_handler_time_to_first_response_seconds",
            "Backend processing time from handle_payload entry to prologue sent (seconds)",
            Buckets(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
        );
        PermitWait = factory.CreateHistogram(
            "dynamo_work_handler_permit_wait_seconds",
            "Time spent waiting for a worker-pool permit (seconds)",
            Buckets(0.0001, 0.001, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60)
        );
        QueueDepth = factory.CreateGauge(
            "dynamo_work_handler_queue_depth",
            "Current items in the bounded work queue awaiting dispatcher pickup"
        );
        QueueCapacity = factory.CreateGauge("dynamo_work_handler_queue_capacity", "Configured capacity of the bounded work queue");
        PoolActive = factory.CreateGauge(
            "dynamo_work_handler_pool_active_tasks",
            "Current number of active worker-pool tasks (permits in use)"
        );
        PoolCapacity = factory.CreateGauge("dynamo_work_handler_pool_capacity", "Configured worker-pool capacity (total permits)");
        EnqueueRejected = factory.CreateCounter(
            "dynamo_work_handler_enqueue_rejected_total",
            "Times enqueuing work failed because the dispatcher channel was closed"
        );
        Rejected = factory.CreateCounter(
            "dynamo_rejection_request_total",
            "Requests rejected because the worker is at capacity (engine in-flight limit and Dynamo queue both full)"
        );
        EngineRequests = factory.CreateGauge(
            "dynamo_engine_request",
            "Current number of requests being handled by the engine (--engine-request-limit)"
        );
        QueuedRequests = factory.CreateGauge(
            "dynamo_request_queue",
            "Current number of requests queued in Dynamo not yet in the engine (--dynamo-request-queue-limit)"
        );
    }

    public IObserver Transit { get; }

    public IObserver TimeToFirstResponse { get; }

    public IObserver PermitWait { get; }

    public IGauge QueueDepth { get; }

    public IGauge QueueCapacity { get; }

    public IGauge PoolActive { get; }

    public IGauge PoolCapacity { get; }

    public ICounter EnqueueRejected { get; }

    public ICounter Rejected { get; }

    public IGauge EngineRequests { get; }

    public IGauge QueuedRequests { get; }
}
