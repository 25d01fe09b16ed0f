using Dynamo.Vllm.Core.Lifecycle;
using Dynamo.Vllm.Transports.Otlp;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Hosting;
using Dynamo.Vllm.Worker.Logging;
using Dynamo.Vllm.Worker.StatusPort;
using Dynamo.Vllm.Worker.Telemetry;

namespace Dynamo.Vllm.Worker.Stages;

/// <summary>Sends metrics, traces and the log to a collector, where the environment says so. First up and last down, so that it sees
/// all of a start and a stop.</summary>
internal sealed partial class TelemetryStage : IStage
{
    /// <summary>For the last numbers and spans. A collector that did not take those before is not waited for.</summary>
    private static readonly TimeSpan LastExportLimit = TimeSpan.FromSeconds(1);

    private static readonly TimeSpan LoopLimit = TimeSpan.FromSeconds(1);

    private readonly MetricsPage _page;
    private readonly (OtlpOptions Options, TimeSpan Interval)? _metricsSettings;
    private readonly (OtlpOptions Options, BatchLimits Limits, SpanSampler Sampler)? _traceSettings;
    private readonly (OtlpOptions Options, BatchLimits Limits)? _logSettings;
    private readonly LogRecords? _records;
    private readonly List<string> _warnings;
    private readonly List<(string Signal, string Reason)> _problems = [];
    private readonly TimeProvider _time;
    private readonly ILoggerFactory _loggers;
    private readonly ILogger<TelemetryStage> _logger;
    private readonly LoopSupervisor _loops;
    private MetricsExport? _metrics;
    private TracesExport? _traces;
    private LogsExport? _logs;

    public TelemetryStage(
        WorkerSettings settings,
        MetricsPage page,
        WorkerLifetime lifetime,
        LoopPulses pulses,
        TimeProvider time,
        ILoggerFactory loggers,
        LogRecords? records = null
    )
    {
        _page = page;
        _records = records;
        var reader = new EnvironmentReader(settings.Environment, settings.Options);
        _warnings = reader.Warnings;
        _metricsSettings = Read("Metrics", () => OtlpSettings.Read(reader));
        _traceSettings = Read("Traces", () => OtlpSettings.ReadTraces(reader));
        _logSettings = Read("Logs", () => OtlpSettings.ReadLogs(reader));
        _time = time;
        _loggers = loggers;
        _logger = loggers.CreateLogger<TelemetryStage>();
        _loops = new LoopSupervisor(lifetime.Fail, pulses, time, loggers.CreateLogger<LoopSupervisor>());
    }

    public string Name => "telemetry";

    public TimeSpan DownLimit =>
        _metricsSettings is null && _traceSettings is null && _logSettings is null ? TimeSpan.Zero : LoopLimit + LastExportLimit;

    public Task UpAsync(CancellationToken cancellationToken)
    {
        foreach (var warning in _warnings)
        {
            LogWarning(_logger, warning);
        }

        foreach (var (signal, reason) in _problems)
        {
            LogUnusable(_logger, signal, reason);
        }

        if (_metricsSettings is var (metricsOptions, interval))
        {
            _metrics = new MetricsExport(_page, metricsOptions, interval, _time, _loggers.CreateLogger<MetricsExport>());
            _loops.Start("metrics export", LoopRule.Restart, _metrics.RunAsync);
        }

        if (_traceSettings is var (options, limits, sampler))
        {
            _traces = new TracesExport(_page.Worker, options, limits, sampler, _time, _loggers.CreateLogger<TracesExport>());
            _traces.Listen();
            _loops.Start("traces export", LoopRule.Restart, _traces.Batches.RunAsync);
        }

        StartLogs();

        return Task.CompletedTask;
    }

    public async Task DownAsync(StopCause cause)
    {
        await _loops.StopAsync(LoopLimit).ConfigureAwait(false);
        await Task.WhenAll(
                ExportLastAsync("metrics", _metrics is { IsFailing: false } metrics ? metrics.ExportAsync : null),
                ExportLastAsync("spans", _traces?.Batches is { IsFailing: false } traces ? traces.ExportAsync : null),
                ExportLastAsync("lines of the log", _logs?.Batches is { IsFailing: false } logs ? logs.ExportAsync : null)
            )
            .ConfigureAwait(false);
        _metrics?.Dispose();
        _traces?.Dispose();
        _records?.Close();
        _logs?.Dispose();
    }

    private void StartLogs()
    {
        if (_logSettings is not var (options, limits) || _records is null)
        {
            _records?.Close();
            return;
        }

        _logs = new LogsExport(_page.Worker, _records, options, limits, _time, _loggers.CreateLogger<LogsExport>());
        _loops.Start("logs export", LoopRule.Restart, _logs.Batches.RunAsync);
    }

    /// <summary>As in the reference a worker serves without its export.</summary>
    private T? Read<T>(string signal, Func<T?> read)
        where T : struct
    {
        try
        {
            return read();
        }
        catch (ConfigurationException exception)
        {
            _problems.Add((signal, exception.Message));
            return null;
        }
    }

    private async Task ExportLastAsync(string what, Func<CancellationToken, Task>? export)
    {
        if (export is null)
        {
            return;
        }

        using var limit = new CancellationTokenSource(LastExportLimit, _time);
        try
        {
            await export(limit.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (limit.IsCancellationRequested)
        {
            LogLastLost(_logger, what, LastExportLimit.TotalSeconds);
        }
    }

    [LoggerMessage(EventId = 5124, Level = LogLevel.Error, Message = "{Signal} are not exported over OTLP: {Problem}")]
    private static partial void LogUnusable(ILogger logger, string signal, string problem);

    [LoggerMessage(EventId = 5125, Level = LogLevel.Warning, Message = "{Problem}")]
    private static partial void LogWarning(ILogger logger, string problem);

    [LoggerMessage(EventId = 5126, Level = LogLevel.Warning, Message = "The last {What} were not exported: no answer within {Seconds} s")]
    private static partial void LogLastLost(ILogger logger, string what, double seconds);
}
