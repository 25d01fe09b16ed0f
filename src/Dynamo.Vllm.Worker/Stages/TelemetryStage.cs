using Dynamo.Vllm.Core.Lifecycle;
using Dynamo.Vllm.Transports.Otlp;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Hosting;
using Dynamo.Vllm.Worker.StatusPort;
using Dynamo.Vllm.Worker.Telemetry;

namespace Dynamo.Vllm.Worker.Stages;

/// <summary>Sends metrics to a collector, where the environment says so. First up and last down, so that it sees
/// all of a start and a stop.</summary>
internal sealed partial class TelemetryStage : IStage
{
    /// <summary>For the last numbers. A collector that did not take those before is not waited for.</summary>
    private static readonly TimeSpan LastExportLimit = TimeSpan.FromSeconds(1);

    private static readonly TimeSpan LoopLimit = TimeSpan.FromSeconds(1);

    private readonly MetricsPage _page;
    private readonly (OtlpOptions Options, TimeSpan Interval)? _otlp;
    private readonly List<string> _warnings;
    private readonly string? _problem;
    private readonly TimeProvider _time;
    private readonly ILoggerFactory _loggers;
    private readonly ILogger<TelemetryStage> _logger;
    private readonly LoopSupervisor _loops;
    private MetricsExport? _export;

    public TelemetryStage(
        WorkerSettings settings,
        MetricsPage page,
        WorkerLifetime lifetime,
        LoopPulses pulses,
        TimeProvider time,
        ILoggerFactory loggers
    )
    {
        _page = page;
        var reader = new EnvironmentReader(settings.Environment, settings.Options);
        _warnings = reader.Warnings;
        try
        {
            _otlp = OtlpSettings.Read(reader);
        }
        catch (ConfigurationException exception)
        {
            // As in the reference a worker serves without its export.
            _problem = exception.Message;
        }

        _time = time;
        _loggers = loggers;
        _logger = loggers.CreateLogger<TelemetryStage>();
        _loops = new LoopSupervisor(lifetime.Fail, pulses, time, loggers.CreateLogger<LoopSupervisor>());
    }

    public string Name => "telemetry";

    public TimeSpan DownLimit => _otlp is null ? TimeSpan.Zero : LoopLimit + LastExportLimit;

    public Task UpAsync(CancellationToken cancellationToken)
    {
        foreach (var warning in _warnings)
        {
            LogWarning(_logger, warning);
        }

        if (_problem is not null)
        {
            LogUnusable(_logger, _problem);
        }
        else if (_otlp is var (options, interval))
        {
            _export = new MetricsExport(_page, options, interval, _time, _loggers.CreateLogger<MetricsExport>());
            _loops.Start("metrics export", LoopRule.Restart, _export.RunAsync);
        }

        return Task.CompletedTask;
    }

    public async Task DownAsync(StopCause cause)
    {
        await _loops.StopAsync(LoopLimit).ConfigureAwait(false);
        if (_export is null)
        {
            return;
        }

        if (!_export.IsFailing)
        {
            await ExportLastAsync(_export).ConfigureAwait(false);
        }

        _export.Dispose();
    }

    private async Task ExportLastAsync(MetricsExport export)
    {
        using var limit = new CancellationTokenSource(LastExportLimit, _time);
        try
        {
            await export.ExportAsync(limit.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (limit.IsCancellationRequested)
        {
            LogLastLost(_logger, LastExportLimit.TotalSeconds);
        }
    }

    [LoggerMessage(EventId = 5124, Level = LogLevel.Error, Message = "Metrics are not exported over OTLP: {Problem}")]
    private static partial void LogUnusable(ILogger logger, string problem);

    [LoggerMessage(EventId = 5125, Level = LogLevel.Warning, Message = "{Problem}")]
    private static partial void LogWarning(ILogger logger, string problem);

    [LoggerMessage(EventId = 5126, Level = LogLevel.Warning, Message = "The last metrics were not exported: no answer within {Seconds} s")]
    private static partial void LogLastLost(ILogger logger, double seconds);
}
