using Dynamo.Vllm.Core.Health;
using Dynamo.Vllm.Core.Lifecycle;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Control;
using Dynamo.Vllm.Worker.ServiceManager;
using Dynamo.Vllm.Worker.Stages;
using Dynamo.Vllm.Worker.StartUp;
using Microsoft.Extensions.Hosting;

namespace Dynamo.Vllm.Worker.Hosting;

/// <summary>The worker's life as the host sees it: <see cref="StageSequence"/> up,
/// and down for whatever reason (docs/operations.md, "Life of a worker").</summary>
/// <remarks>
/// A stop during the start ends it at once: nothing is registered any more, and the engine's processes are killed. A second signal changes
/// nothing. The stages come up once the host's server listens, and are down before it stops listening, so that probes are answered all the
/// while.
/// </remarks>
internal sealed partial class WorkerService : IHostedLifecycleService
{
    private readonly StageSequence _stages;
    private readonly StopAllowance _allowance;
    private readonly EngineArgumentsStage _arguments;
    private readonly ServedEndpoints _endpoints;
    private readonly HealthState _health;
    private readonly WorkerLifetime _lifetime;
    private readonly ServiceReport _report;
    private readonly StartProgress _progress;
    private readonly StateMetrics _state;
    private readonly ILogger<WorkerService> _logger;
    private int _isStopped;

    public WorkerService(
        StageSequence stages,
        StopAllowance allowance,
        EngineArgumentsStage arguments,
        ServedEndpoints endpoints,
        HealthState health,
        WorkerLifetime lifetime,
        Reload reload,
        ServiceReport report,
        StartProgress progress,
        StateMetrics state,
        ILogger<WorkerService> logger
    )
    {
        _stages = stages;
        _allowance = allowance;
        _arguments = arguments;
        _endpoints = endpoints;
        _health = health;
        _lifetime = lifetime;
        _report = report;
        _progress = progress;
        _state = state;
        reload.Changed += report.Reloading;
        _logger = logger;
    }

    /// <summary>What the process ends with: 0 after a graceful stop, 1 when the engine had to be given up.</summary>
    public int ExitCode { get; private set; }

    public Task StartingAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public async Task StartedAsync(CancellationToken cancellationToken)
    {
        _allowance.Check();
        _state.Begin();
        using var starting = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _lifetime.Stopping);
        _progress.Begin();
        _report.Begin();
        _ = _lifetime.Stopping.Register(_report.Stopping); // for the life of the process
        try
        {
            await _stages.UpAsync(starting.Token).ConfigureAwait(false);
            LogReady(_logger, _arguments.Configuration.ServedModelName, _health.Uptime.TotalSeconds, _allowance.Needed.TotalSeconds);
            _report.Ready();
        }
        catch (OperationCanceledException) when (_lifetime.Stopping.IsCancellationRequested && _lifetime.Fatal is null)
        {
            LogStoppedDuringStart(_logger);
            await StopAsync(new StopCause(StopKind.StartFailed, "stopped while starting")).ConfigureAwait(false);
            throw new WorkerExitException(ExitCodes.Success, "stopped while starting");
        }
        catch (Exception exception)
        {
            var fatal = _lifetime.Fatal;
            var failure = fatal is null
                ? StartFailure.Of(exception, _progress.EngineError)
                : new WorkerExitException(ExitCodes.Failure, fatal, exception);
            ExitCode = failure.ExitCode;
            _report.Failed(failure.Message);
            var cause = fatal is null ? new StopCause(StopKind.StartFailed, "the start failed") : new StopCause(StopKind.Fatal, fatal);
            await StopAsync(cause).ConfigureAwait(false);
            throw failure;
        }
    }

    public Task StoppingAsync(CancellationToken cancellationToken)
    {
        if (_lifetime.Fatal is not { } fatal)
        {
            return StopAsync(new StopCause(StopKind.Asked, "shutdown was asked for"));
        }

        ExitCode = ExitCodes.Failure;
        return StopAsync(new StopCause(StopKind.Fatal, fatal));
    }

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StoppedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    private async Task StopAsync(StopCause cause)
    {
        await _stages.DownAsync(cause).ConfigureAwait(false);
        if (Interlocked.Exchange(ref _isStopped, 1) == 0)
        {
            _endpoints.LogBooks();
            LogStopped(_logger, ExitCode);
            await _report.EndAsync().ConfigureAwait(false);
        }
    }

    [LoggerMessage(
        EventId = 5009,
        Level = LogLevel.Information,
        Message = "Ready: serving {Model} after {Seconds:F1} s; a stop takes {StopSeconds:F0} s at most"
    )]
    private static partial void LogReady(ILogger logger, string model, double seconds, double stopSeconds);

    [LoggerMessage(EventId = 5016, Level = LogLevel.Information, Message = "Stopped, exit code {ExitCode}")]
    private static partial void LogStopped(ILogger logger, int exitCode);

    [LoggerMessage(EventId = 5017, Level = LogLevel.Information, Message = "A stop came while the worker was starting")]
    private static partial void LogStoppedDuringStart(ILogger logger);
}
