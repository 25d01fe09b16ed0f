using Dynamo.Vllm.Protocol.Metrics;
using Dynamo.Vllm.Transports.Otlp;
using Dynamo.Vllm.Worker.StatusPort;
using Prometheus;

namespace Dynamo.Vllm.Worker.Telemetry;

/// <summary>Sends what <c>/metrics</c> shows to a collector, at once and then at each interval.</summary>
/// <remarks>
/// Read from the page itself, so both can never disagree, and nothing on the way of a request knows of it. One export at a time: a
/// collector that is slow makes the next one later. A failed export is not kept: all values are totals since the start, and the next one
/// has them.
/// </remarks>
internal sealed partial class MetricsExport : IDisposable
{
    private readonly MetricsPage _page;
    private readonly OtlpMetricsClient _client;
    private readonly string _address;
    private readonly TimeSpan _interval;
    private readonly DateTimeOffset _started;
    private readonly TimeProvider _time;
    private readonly ILogger<MetricsExport> _logger;
    private readonly Counter.Child _sent;
    private readonly Counter.Child _failed;
    private long _failures;

    public MetricsExport(MetricsPage page, OtlpOptions options, TimeSpan interval, TimeProvider time, ILogger<MetricsExport> logger)
    {
        _page = page;
        _client = new OtlpMetricsClient(options);
        _address = options.Endpoint.GetLeftPart(UriPartial.Path); // what follows may be a key
        _interval = interval;
        _time = time;
        _started = time.GetUtcNow();
        _logger = logger;
        var exports = Metrics
            .WithCustomRegistry(page.Worker)
            .CreateCounter("dynamo_vllm_metric_exports_total", "Exports of these metrics over OTLP, by what became of them", "outcome");
        _sent = exports.WithLabels("sent");
        _failed = exports.WithLabels("failed");
    }

    /// <summary>Whether the last export failed.</summary>
    public bool IsFailing => _failures > 0;

    /// <summary>Exports until it is told to stop.</summary>
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        LogBegin(_logger, _address, _interval.TotalSeconds);
        using var timer = new PeriodicTimer(_interval, _time);
        do
        {
            await ExportAsync(cancellationToken).ConfigureAwait(false);
        } while (await timer.WaitForNextTickAsync(cancellationToken).ConfigureAwait(false));
    }

    /// <summary>Exports once. A failure is said when it is the first after a success, and nothing more.</summary>
    public async Task ExportAsync(CancellationToken cancellationToken)
    {
        var families = ExpositionText.Parse(await _page.RenderAsync(cancellationToken).ConfigureAwait(false));
        try
        {
            var rest = await _client.ExportAsync(families, _started, _time.GetUtcNow(), cancellationToken).ConfigureAwait(false);
            if (rest is not null)
            {
                throw new OtlpException(rest);
            }

            _sent.Inc();
            if (_failures > 0)
            {
                LogAgain(_logger, _address, _failures);
                _failures = 0;
            }
        }
        catch (OtlpException exception)
        {
            _failed.Inc();
            if (_failures++ == 0)
            {
                LogFailed(_logger, _address, exception.Message, _interval.TotalSeconds);
            }
        }
    }

    public void Dispose() => _client.Dispose();

    [LoggerMessage(EventId = 5121, Level = LogLevel.Information, Message = "Metrics are exported to {Endpoint} every {Seconds} s")]
    private static partial void LogBegin(ILogger logger, string endpoint, double seconds);

    [LoggerMessage(
        EventId = 5122,
        Level = LogLevel.Warning,
        Message = "Metrics cannot be exported to {Endpoint}: {Reason}. It is tried again every {Seconds} s, and said when it works again"
    )]
    private static partial void LogFailed(ILogger logger, string endpoint, string reason, double seconds);

    [LoggerMessage(
        EventId = 5123,
        Level = LogLevel.Information,
        Message = "Metrics are exported to {Endpoint} again, after {Failures} failures"
    )]
    private static partial void LogAgain(ILogger logger, string endpoint, long failures);
}
