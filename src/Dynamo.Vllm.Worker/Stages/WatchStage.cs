using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core;
using Dynamo.Vllm.Core.Health;
using Dynamo.Vllm.Core.Lifecycle;
using Dynamo.Vllm.Worker.Control;
using Dynamo.Vllm.Worker.Hosting;
using Dynamo.Vllm.Worker.Models;
using Dynamo.Vllm.Worker.StatusPage;

namespace Dynamo.Vllm.Worker.Stages;

/// <summary>Engine monitor, canary, reload and statistics. Last up and first down: a probe must not meet an engine that goes
/// down.</summary>
internal sealed partial class WatchStage : IStage
{
    /// <summary>A probe under way ends by its token.</summary>
    private static readonly TimeSpan LoopLimit = TimeSpan.FromSeconds(1);

    /// <summary>What timers take. Once in a month and a half is never.</summary>
    private const double TimerSecondsMax = 4_000_000;

    private readonly WorkerSettings _settings;
    private readonly EngineArgumentsStage _arguments;
    private readonly EndpointsStage _roles;
    private readonly HealthState _health;
    private readonly Reload _reload;
    private readonly StatusSamples _samples;
    private readonly TimeProvider _time;
    private readonly IIdSource _ids;
    private readonly ILoggerFactory _loggers;
    private readonly ILogger<WatchStage> _logger;
    private readonly LoopSupervisor _loops;

    public WatchStage(
        WorkerSettings settings,
        EngineArgumentsStage arguments,
        EndpointsStage roles,
        HealthState health,
        Reload reload,
        StatusSamples samples,
        WorkerLifetime lifetime,
        LoopPulses pulses,
        TimeProvider time,
        IIdSource ids,
        ILoggerFactory loggers
    )
    {
        _settings = settings;
        _arguments = arguments;
        _roles = roles;
        _health = health;
        _reload = reload;
        _samples = samples;
        _time = time;
        _ids = ids;
        _loggers = loggers;
        _logger = loggers.CreateLogger<WatchStage>();
        _loops = new LoopSupervisor(lifetime.Fail, pulses, time, loggers.CreateLogger<LoopSupervisor>());
    }

    public string Name => "watch";

    public TimeSpan DownLimit => LoopLimit;

    public Task UpAsync(CancellationToken cancellationToken)
    {
        var health = _settings.Runtime.Health;
        var monitor = new EngineMonitor(
            _arguments.Engine,
            new EngineMonitorOptions { Interval = health.EngineCheckInterval, CheckTimeout = health.EngineCheckTimeout },
            _health,
            _time,
            _loggers.CreateLogger<EngineMonitor>()
        );
        _loops.Watch("engine monitor", LoopRule.Fatal, monitor.RunAsync);
        var configuration = _arguments.Configuration;
        var payload = HealthPayload.Create(
            configuration.IsPoolingWorker ? HealthPayload.ForEmbedding(configuration.ServedModelName)
                : configuration.TakesText ? HealthPayload.ForText()
                : HealthPayload.ForGeneration(_arguments.Engine.Description.BosTokenId),
            health.Payload,
            problem => LogWarning(_logger, problem)
        );
        if (health.CanariesEnabled && !configuration.IsEncodeWorker)
        {
            _loops.Start("canary", LoopRule.Restart, CreateCanary(payload).RunAsync);
        }

        _loops.Start("reload", LoopRule.Restart, _reload.RunAsync);
        _loops.Start("status samples", LoopRule.Restart, _samples.RunAsync);
        if (StatisticsInterval() is { } interval)
        {
            _loops.Start("statistics", LoopRule.Restart, token => LogStatisticsAsync(interval, token));
        }

        return Task.CompletedTask;
    }

    public Task DownAsync(StopCause cause) => _loops.StopAsync(LoopLimit);

    private Canary CreateCanary(JsonObject payload) =>
        new(
            _arguments.Engine,
            _roles.Generate,
            JsonSerializer.SerializeToUtf8Bytes(payload, JsonNodeContext.Default.JsonObject),
            _settings.Runtime.Health.CanaryIdle,
            _settings.Runtime.Health.CanaryTimeout,
            _health,
            _time,
            _ids,
            _loggers.CreateLogger<Canary>()
        );

    private TimeSpan? StatisticsInterval()
    {
        var text = _settings.Environment.GetValueOrDefault("VLLM_LOG_STATS_INTERVAL");
        var seconds = double.TryParse(text, CultureInfo.InvariantCulture, out var number) ? number : 10;
        return seconds is > 0 and < TimerSecondsMax ? TimeSpan.FromSeconds(Math.Max(seconds, 0.001)) : null;
    }

    /// <summary>vLLM's own statistics line (behaviour.md, 8). A dead engine, whose monitor reports it, ends this for good.</summary>
    private async Task LogStatisticsAsync(TimeSpan interval, CancellationToken cancellationToken)
    {
        using var timer = new PeriodicTimer(interval, _time);
        while (await timer.WaitForNextTickAsync(cancellationToken).ConfigureAwait(false) && !_arguments.Engine.Died.IsCompleted)
        {
            await _arguments.Engine.Control.LogStatisticsAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    [LoggerMessage(EventId = 5022, Level = LogLevel.Warning, Message = "{Problem}")]
    private static partial void LogWarning(ILogger logger, string problem);
}
