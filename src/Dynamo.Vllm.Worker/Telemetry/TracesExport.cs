using System.Diagnostics;
using System.Threading.Channels;
using Dynamo.Vllm.Core.Tracing;
using Dynamo.Vllm.Transports.Otlp;
using Prometheus;

namespace Dynamo.Vllm.Worker.Telemetry;

/// <summary>Listens to the spans of requests and sends them to a collector, a batch at a time.</summary>
/// <remarks>
/// A request only puts its span into the queue; a queue that is full drops it. What a collector did not take is not sent again: a span is
/// one of many, and the next ones wait. What became of each is counted.
/// </remarks>
internal sealed partial class TracesExport : IDisposable
{
    private readonly OtlpTracesClient _client;
    private readonly string _address;
    private readonly SpanLimits _limits;
    private readonly TimeProvider _time;
    private readonly ILogger<TracesExport> _logger;
    private readonly Channel<Activity> _queue;
    private readonly ActivityListener _listener;
    private readonly Counter.Child _sent;
    private readonly Counter.Child _failed;
    private readonly Counter.Child _dropped;
    private bool _isFailing;

    public TracesExport(
        CollectorRegistry registry,
        OtlpOptions options,
        SpanLimits limits,
        SpanSampler sampler,
        TimeProvider time,
        ILogger<TracesExport> logger
    )
    {
        _client = new OtlpTracesClient(options);
        _address = options.Endpoint.GetLeftPart(UriPartial.Path); // what follows may be a key
        _limits = limits;
        _time = time;
        _logger = logger;
        var spans = Metrics
            .WithCustomRegistry(registry)
            .CreateCounter("dynamo_vllm_spans_total", "Spans of requests, by what became of their export over OTLP", "outcome");
        _sent = spans.WithLabels("sent");
        _failed = spans.WithLabels("failed");
        _dropped = spans.WithLabels("dropped");
        // Wait: TryWrite reports full, and the span is dropped there.
        _queue = Channel.CreateBounded<Activity>(new BoundedChannelOptions(limits.Queued) { SingleReader = true });
        _listener = new ActivityListener
        {
            ShouldListenTo = source => source.Name == RequestTracing.SourceName,
            Sample = (ref ActivityCreationOptions<ActivityContext> span) =>
                sampler.Keeps(span.TraceId, span.Parent) ? ActivitySamplingResult.AllDataAndRecorded : ActivitySamplingResult.None,
            ActivityStopped = Take,
        };
    }

    /// <summary>Whether the last export failed.</summary>
    public bool IsFailing => Volatile.Read(ref _isFailing);

    /// <summary>From here on requests make spans.</summary>
    public void Listen() => ActivitySource.AddActivityListener(_listener);

    /// <summary>Exports until it is told to stop.</summary>
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        LogBegin(_logger, _address);
        while (await _queue.Reader.WaitToReadAsync(cancellationToken).ConfigureAwait(false))
        {
            if (_queue.Reader.Count < _limits.Batch)
            {
                await Task.Delay(_limits.Delay, _time, cancellationToken).ConfigureAwait(false);
            }

            await ExportAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Exports what waits. A failure is said when it is the first after a success, and nothing more.</summary>
    public async Task ExportAsync(CancellationToken cancellationToken)
    {
        while (NextBatch() is { Count: > 0 } batch)
        {
            try
            {
                var (rejected, reason) = await _client.ExportAsync(batch, cancellationToken).ConfigureAwait(false);
                _sent.Inc(batch.Count - rejected);
                _failed.Inc(rejected);
                Say(rejected > 0 ? $"{rejected} spans were rejected: {reason}" : null);
            }
            catch (OtlpException exception)
            {
                _failed.Inc(batch.Count);
                Say(exception.Message);
                return; // the rest waits for the next time, or is dropped there
            }
            catch (OperationCanceledException)
            {
                _failed.Inc(batch.Count);
                throw;
            }
        }
    }

    public void Dispose()
    {
        _listener.Dispose();
        _client.Dispose();
    }

    private void Take(Activity span)
    {
        if (!_queue.Writer.TryWrite(span))
        {
            _dropped.Inc();
        }
    }

    private List<Activity> NextBatch()
    {
        var batch = new List<Activity>();
        while (batch.Count < _limits.Batch && _queue.Reader.TryRead(out var span))
        {
            batch.Add(span);
        }

        return batch;
    }

    private void Say(string? problem)
    {
        if (problem is not null && !_isFailing)
        {
            LogFailed(_logger, _address, problem);
        }
        else if (problem is null && _isFailing)
        {
            LogAgain(_logger, _address);
        }

        Volatile.Write(ref _isFailing, problem is not null);
    }

    [LoggerMessage(EventId = 5127, Level = LogLevel.Information, Message = "Traces are exported to {Endpoint}")]
    private static partial void LogBegin(ILogger logger, string endpoint);

    [LoggerMessage(
        EventId = 5128,
        Level = LogLevel.Warning,
        Message = "Traces cannot be exported to {Endpoint}: {Reason}. These spans are lost; it is said when it works again"
    )]
    private static partial void LogFailed(ILogger logger, string endpoint, string reason);

    [LoggerMessage(EventId = 5129, Level = LogLevel.Information, Message = "Traces are exported to {Endpoint} again")]
    private static partial void LogAgain(ILogger logger, string endpoint);
}
