using System.Collections.Immutable;
using System.Diagnostics;
using Dynamo.Vllm.Core.Disaggregation;
using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Core.Health;
using Dynamo.Vllm.Core.KvEvents;
using Dynamo.Vllm.Core.Metrics;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Engine;
using Dynamo.Vllm.Python;
using Dynamo.Vllm.Transports;
using Dynamo.Vllm.Transports.SystemServer;
using Dynamo.Vllm.Worker.CommandLine;
using Dynamo.Vllm.Worker.Logging;
using Microsoft.Extensions.Hosting;
using Prometheus;

namespace Dynamo.Vllm.Worker.Hosting;

/// <summary>The worker's life: the stages up in order, and down in reverse (docs/operations.md, "Life of a worker").</summary>
/// <remarks>
/// Up: 1. status server; 2. interpreter and engine arguments; 3. discovery identity and request listener; 4. engine; 5. model card; 6. endpoints.
/// Down: 1. withdraw; 2. grace; 3. close intake; 4. drain; 5. abort the rest; 6. leave discovery; 7. engine; 8. status server.
/// A stop during the start ends it at once: nothing is registered any more, and the engine's processes are killed. A second signal changes nothing.
/// The only hosted service, so that no order depends on registration.
/// </remarks>
internal sealed partial class WorkerService : IHostedService
{
    private readonly WorkerArguments _arguments;
    private readonly IReadOnlyDictionary<string, string> _environment;
    private readonly RuntimeEnvironment _runtime;
    private readonly RuntimePlanes _planes;
    private readonly IHostApplicationLifetime _lifetime;
    private readonly StandardOutputs _outputs;
    private readonly ILoggerFactory _loggers;
    private readonly ILogger<WorkerService> _logger;
    private readonly TimeProvider _time = TimeProvider.System;
    private readonly CollectorRegistry _runtimeRegistry = Metrics.NewCustomRegistry();
    private readonly CollectorRegistry _workerRegistry = Metrics.NewCustomRegistry();
    private readonly ConnectionCaps _connections;
    private readonly HealthState _health;
    private readonly EngineRoutes _routes = new();
    private readonly HostedFiles _files = new();
    private readonly CancellationTokenSource _watching = new();
    private readonly CancellationTokenSource _stopped = new();
    private ImmutableList<ServedEndpoint> _endpoints = []; // scrapes read it while the start adds
    private readonly TaskCompletionSource<string> _fatal = new(TaskCreationOptions.RunContinuationsAsynchronously); // not on the reporter's stack

    private RuntimeMetrics _metrics = null!;
    private IDiscovery _discovery = null!;
    private IRequestPlane _requests = null!;
    private WorkerRegistration _registration = null!;
    private SystemServer? _server;
    private VllmEngine? _engine;
    private EngineMetricsText? _engineMetrics;
    private ResolvedConfiguration? _configuration;
    private PlaneFactory? _factory;
    private IEventPlane? _events;
    private KvRelayService? _relay;
    private HandOverLedger? _handOvers;
    private string? _prometheusFolder;
    private int _stopping;
    private bool _isStoreAway;

    public WorkerService(
        WorkerArguments arguments, IReadOnlyDictionary<string, string> environment, RuntimeEnvironment runtime, RuntimePlanes planes,
        StandardOutputs outputs, IHostApplicationLifetime lifetime, ILoggerFactory loggers)
    {
        _arguments = arguments;
        _environment = environment;
        _runtime = runtime;
        _planes = planes;
        _outputs = outputs;
        _lifetime = lifetime;
        _loggers = loggers;
        _logger = loggers.CreateLogger<WorkerService>();
        _health = new HealthState(runtime.Health.CanariesEnabled, runtime.SystemServer.StartsReady, _time);
        _health.Hold(true);
        _connections = ConnectionCaps.For(DescriptorLimit.Raise(), _time, loggers.CreateLogger<ConnectionCap>());
        HostMetrics.AddTo(_workerRegistry, outputs, _connections);
        _ = new LedgerMetrics(_workerRegistry, () => _endpoints);
    }

    /// <summary>What the process ends with: 0 after a graceful stop, 1 when the engine had to be given up.</summary>
    public int ExitCode { get; private set; }

    public async Task StartAsync(CancellationToken cancellationToken)
    {
        using var starting = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _lifetime.ApplicationStopping);
        try
        {
            await RunStagesUpAsync(starting.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (_lifetime.ApplicationStopping.IsCancellationRequested)
        {
            LogStoppedDuringStart(_logger);
            await StopAsync(CancellationToken.None).ConfigureAwait(false);
            throw new WorkerExitException(ExitCodes.Success, "stopped while starting");
        }
        catch (Exception exception)
        {
            var failure = StartFailure.Of(exception);
            ExitCode = failure.ExitCode;
            await StopOnceAsync("the start failed").ConfigureAwait(false);
            throw failure;
        }
    }

    public Task StopAsync(CancellationToken cancellationToken) => StopOnceAsync("shutdown was asked for");

    private async Task StopOnceAsync(string reason)
    {
        if (Interlocked.Exchange(ref _stopping, 1) == 0)
        {
            await RunStagesDownAsync(reason).ConfigureAwait(false);
        }
    }

    /// <summary>Runs one stage with its name and time in the log.</summary>
    private async Task StageAsync(string name, Func<Task> stage)
    {
        var started = Stopwatch.GetTimestamp();
        await stage().ConfigureAwait(false);
        LogStage(_logger, name, Stopwatch.GetElapsedTime(started).TotalSeconds);
    }
}
