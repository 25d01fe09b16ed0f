using Prometheus;

namespace Dynamo.Vllm.Core.Metrics;

/// <summary>The <c>dynamo_component_*</c> families of the runtime, in a registry of their own.</summary>
/// <remarks>
/// Names, labels, help texts and buckets are those of the reference
/// (tests/golden/runtime/metrics_python_worker.txt), since dashboards are built on them.
/// </remarks>
public sealed class RuntimeMetrics
{
    private static readonly string[] EndpointLabels =
    [
        "dynamo_component",
        "dynamo_endpoint",
        "dynamo_namespace",
        "model",
        "model_name",
        "worker_id",
    ];

    public RuntimeMetrics(CollectorRegistry registry, string workerId)
    {
        WorkerId = workerId;
        Registry = registry;
        var factory = Prometheus.Metrics.WithCustomRegistry(registry);
        Requests = factory.CreateCounter(
            "dynamo_component_requests_total",
            "Total number of requests processed by work handler",
            EndpointLabels
        );
        RequestBytes = factory.CreateCounter(
            "dynamo_component_request_bytes_total",
            "Total number of bytes received in requests by work handler",
            EndpointLabels
        );
        ResponseBytes = factory.CreateCounter(
            "dynamo_component_response_bytes_total",
            "Total number of bytes sent in responses by work handler",
            EndpointLabels
        );
        InFlight = factory.CreateGauge(
            "dynamo_component_inflight_requests",
            "Number of requests currently being processed by work handler",
            EndpointLabels
        );
        Duration = factory.CreateHistogram(
            "dynamo_component_request_duration_seconds",
            "Time spent processing requests by work handler",
            EndpointLabels,
            new HistogramConfiguration { Buckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600] }
        );
        Cancellations = factory.CreateCounter(
            "dynamo_component_cancellation_total",
            "Total number of requests cancelled by work handler",
            EndpointLabels
        );
        Errors = factory.CreateCounter(
            "dynamo_component_errors_total",
            "Total number of errors in work handler processing",
            [.. EndpointLabels, "error_type"]
        );
        Uptime = factory
            .CreateGauge("dynamo_component_uptime_seconds", "Total uptime of the DistributedRuntime in seconds", ["worker_id"])
            .WithLabels(workerId);
        Dispatcher = new DispatcherMetrics(factory);
    }

    public CollectorRegistry Registry { get; }

    /// <summary>Value of the <c>worker_id</c> label.</summary>
    public string WorkerId { get; }

    public DispatcherMetrics Dispatcher { get; }

    /// <summary>Seconds since the start; set at each scrape.</summary>
    public IGauge Uptime { get; }

    internal Counter Requests { get; }

    internal Counter RequestBytes { get; }

    internal Counter ResponseBytes { get; }

    internal Gauge InFlight { get; }

    internal Histogram Duration { get; }

    internal Counter Cancellations { get; }

    internal Counter Errors { get; }

    /// <param name="endpoint">Endpoint.</param>
    /// <param name="model">Served name, or empty for an endpoint of no model: its series have no model labels.</param>
    public EndpointMetrics ForEndpoint(Protocol.Discovery.EndpointId endpoint, string model) => ForEndpoint(endpoint, model, model);

    /// <param name="endpoint">Endpoint.</param>
    /// <param name="model">Label <c>model</c>.</param>
    /// <param name="modelName">Label <c>model_name</c>; empty for none.</param>
    public EndpointMetrics ForEndpoint(Protocol.Discovery.EndpointId endpoint, string model, string modelName) =>
        new(this, [endpoint.Component, endpoint.Name, endpoint.Namespace, model, modelName, WorkerId]);
}
