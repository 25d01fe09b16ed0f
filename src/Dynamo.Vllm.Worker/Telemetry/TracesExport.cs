using System.Diagnostics;
using System.Threading.Channels;
using Dynamo.Vllm.Core.Tracing;
using Dynamo.Vllm.Transports.Otlp;
using Prometheus;

namespace Dynamo.Vllm.Worker.Telemetry;

/// <summary>Listens to the spans of requests and sends them to a collector.</summary>
/// <remarks>A request only puts its span into the queue; a queue that is full drops it.</remarks>
internal sealed class TracesExport : IDisposable
{
    private readonly OtlpTracesClient _client;
    private readonly ActivityListener _listener;

    public TracesExport(
        CollectorRegistry registry,
        OtlpOptions options,
        BatchLimits limits,
        SpanSampler sampler,
        TimeProvider time,
        ILogger<TracesExport> logger
    )
    {
        _client = new OtlpTracesClient(options);
        var spans = Metrics
            .WithCustomRegistry(registry)
            .CreateCounter("dynamo_vllm_spans_total", "Spans of requests, by what became of their export over OTLP", "outcome");
        // Wait: TryWrite reports full, and the span is dropped there.
        var queue = Channel.CreateBounded<Activity>(new BoundedChannelOptions(limits.Queued) { SingleReader = true });
        var dropped = spans.WithLabels("dropped");
        Batches = new BatchExport<Activity>("Traces", options.Endpoint, queue.Reader, limits, spans, _client.ExportAsync, time, logger);
        _listener = new ActivityListener
        {
            ShouldListenTo = source => source.Name == RequestTracing.SourceName,
            Sample = (ref ActivityCreationOptions<ActivityContext> span) =>
                sampler.Keeps(span.TraceId, span.Parent) ? ActivitySamplingResult.AllDataAndRecorded : ActivitySamplingResult.None,
            ActivityStopped = span => dropped.Inc(queue.Writer.TryWrite(span) ? 0 : 1),
        };
    }

    /// <summary>Spans that have ended.</summary>
    public BatchExport<Activity> Batches { get; }

    /// <summary>From here on requests make spans.</summary>
    public void Listen() => ActivitySource.AddActivityListener(_listener);

    public void Dispose()
    {
        _listener.Dispose();
        _client.Dispose();
    }
}
