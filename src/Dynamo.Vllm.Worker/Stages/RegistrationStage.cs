using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Disaggregation;
using Dynamo.Vllm.Core.Health;
using Dynamo.Vllm.Core.Lifecycle;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Protocol.ModelCards;
using Dynamo.Vllm.Transports.Zmq;
using Dynamo.Vllm.Worker.Control;
using Dynamo.Vllm.Worker.GrpcRequests;
using Dynamo.Vllm.Worker.Hosting;
using Dynamo.Vllm.Worker.Models;
using Dynamo.Vllm.Worker.StatusPort;

namespace Dynamo.Vllm.Worker.Stages;

/// <summary>Frontends and routers see the worker: first its model card, then
/// its endpoints. Down, it is withdrawn, and what runs may finish.</summary>
/// <remarks>
/// Down: 1. withdraw; 2. grace period, requests that still arrive are
/// served; 3. close intake; 4. drain; 5. wait for hand-overs to be pulled;
/// 6. abort the rest with an error that lets it migrate. After a fatal fault nothing can finish: 1, 3, then every request gets its error.
/// </remarks>
internal sealed partial class RegistrationStage : IStage
{
    /// <summary>From the abort of the last requests to their end on the wire.</summary>
    private static readonly TimeSpan AbortLimit = TimeSpan.FromSeconds(10);

    /// <summary>A dead engine has failed its requests already: only their error items have to leave.</summary>
    private static readonly TimeSpan FlushLimit = TimeSpan.FromSeconds(2);

    private readonly WorkerSettings _settings;
    private readonly EngineArgumentsStage _arguments;
    private readonly ModelStage _model;
    private readonly PlanesStage _planes;
    private readonly EventPlaneStage _events;
    private readonly EndpointsStage _roles;
    private readonly AdaptersStage _adapters;
    private readonly ServedEndpoints _endpoints;
    private readonly ModelCardSource _cards;
    private readonly EngineRoutes _routes;
    private readonly GrpcIntake _grpc;
    private readonly HealthState _health;
    private readonly WorkerLifetime _lifetime;
    private readonly StorePatience _patience;
    private readonly StopSteps _steps;
    private readonly TimeProvider _time;
    private readonly ILogger<RegistrationStage> _logger;
    private readonly GenerationPause _pause = new();
    private bool _isVisible;
    private int _aborted;

    public RegistrationStage(
        WorkerSettings settings,
        EngineArgumentsStage arguments,
        ModelStage model,
        PlanesStage planes,
        EventPlaneStage events,
        EndpointsStage roles,
        AdaptersStage adapters,
        ServedEndpoints endpoints,
        ModelCardSource cards,
        EngineRoutes routes,
        GrpcIntake grpc,
        HealthState health,
        WorkerLifetime lifetime,
        StorePatience patience,
        StopSteps steps,
        TimeProvider time,
        ILogger<RegistrationStage> logger
    )
    {
        _settings = settings;
        _arguments = arguments;
        _model = model;
        _planes = planes;
        _events = events;
        _roles = roles;
        _adapters = adapters;
        _endpoints = endpoints;
        _cards = cards;
        _routes = routes;
        _grpc = grpc;
        _health = health;
        _lifetime = lifetime;
        _patience = patience;
        _steps = steps;
        _time = time;
        _logger = logger;
    }

    public string Name => "registration";

    public TimeSpan DownLimit => StorePatience.Limit + _settings.Runtime.Shutdown.GracePeriod + (2 * DrainLimit) + AbortLimit;

    /// <summary>Where requests are taken, for operators.</summary>
    public string Place { get; private set; } = "";

    /// <summary>How long running requests may go on once nobody is to send more.</summary>
    public TimeSpan DrainLimit =>
        _settings.Arguments.Host.DrainTimeout < _settings.Runtime.Shutdown.DrainTimeout
            ? _settings.Arguments.Host.DrainTimeout
            : _settings.Runtime.Shutdown.DrainTimeout;

    /// <summary>Those that a drain left.</summary>
    public int AbortedRequests => Volatile.Read(ref _aborted);

    public async Task UpAsync(CancellationToken cancellationToken)
    {
        var card = await _cards
            .CreateAsync(_arguments.Configuration, _arguments.Engine.Description, cancellationToken)
            .ConfigureAwait(false);
        AddControl(card);
        cancellationToken.ThrowIfCancellationRequested(); // the last point at which a stop leaves no trace in discovery
        await PutCardAsync(card, cancellationToken).ConfigureAwait(false);
        foreach (var query in _events.Relay?.QueryEndpoints ?? [])
        {
            _health.AddEndpoint(query.Id.Name, hasPayload: false);
        }

        _isVisible = true;
        foreach (var endpoint in _endpoints.All)
        {
            await _planes.Registration.ServeAsync(endpoint, cancellationToken).ConfigureAwait(false);
            _health.AddEndpoint(endpoint.Id.Name, hasPayload: endpoint == _roles.Generate && !_arguments.Configuration.IsEncodeWorker);
        }

        _events.Attach(_roles.Generate);
        Place = await DescribePlaceAsync().ConfigureAwait(false);
        OpenGrpc();
        _health.Hold(false);
    }

    private void OpenGrpc()
    {
        if (_settings.Arguments.Host.GrpcRequests)
        {
            _grpc.Open(
                new GrpcServing
                {
                    Configuration = _arguments.Configuration,
                    ModelFolder = _model.Folder,
                    Engine = _arguments.Engine,
                    Dispatcher = _planes.Dispatcher,
                    Generate = _roles.Generate,
                    Options = _roles.Options!,
                    Adapters = _roles.Adapters,
                    AdapterLifecycle = _adapters.Lifecycle,
                    Pause = _pause,
                    Registration = _planes.Registration,
                    Loads = new LoadBook(_arguments.Engine),
                    Events = new ZmqEventFeed(_time),
                }
            );
        }
    }

    private void AddControl(ModelCard card)
    {
        var engine = _arguments.Engine.Control;
        var calls = new ControlCalls(_routes, _roles.Silence, _planes.Registration);
        var control = new EngineControl(
            calls,
            _pause,
            engine,
            _planes.Registration,
            _roles.Generate,
            _roles.Adapters,
            (taints, cancellation) => PutCardAsync(ModelCardSource.Tainted(card, taints), cancellation)
        );
        if (_arguments.Configuration.HasOneEndpoint)
        {
            control.AddTaints();
            return;
        }

        control.AddCalls();
        var groupTimeout = _settings.Environment.GetValueOrDefault(WeightControl.GroupTimeoutVariable);
        new WeightControl(calls, _pause, engine, groupTimeout, _lifetime.Fail, _time).AddCalls();
        new ElasticControl(calls, engine, _lifetime.Fail).AddCalls();
    }

    public async Task DownAsync(StopCause cause)
    {
        var leaving = _time.GetTimestamp();
        var registration = _planes.Registration;
        await _steps.TryAsync("withdraw", () => _patience.RunAsync(registration.WithdrawAllAsync)).ConfigureAwait(false);
        LogStopping(_logger, cause.Reason);
        if (cause.Kind == StopKind.Fatal)
        {
            _grpc.Close();
            await _steps.TryAsync("close intake", registration.CloseIntakeAsync).ConfigureAwait(false);
            _arguments.Engine.GiveUp(cause.Reason); // a stalled engine fails nothing by itself
            _endpoints.Abort(); // and what waits for an adapter is not in the engine
            await _endpoints.WhenIdleAsync(FlushLimit).ConfigureAwait(false);
        }
        else if (_isVisible)
        {
            await DrainAsync(leaving).ConfigureAwait(false);
        }
    }

    /// <param name="leaving">When the stop began: the grace counts from there,
    /// as the withdrawal may have waited for a store that is away.</param>
    private async Task DrainAsync(long leaving)
    {
        var grace = _settings.Runtime.Shutdown.GracePeriod - _time.GetElapsedTime(leaving);
        await _steps.TryAsync("grace period", () => Task.Delay(grace > TimeSpan.Zero ? grace : TimeSpan.Zero, _time)).ConfigureAwait(false);
        _health.Hold(true);
        _grpc.Close();
        await _steps.TryAsync("close intake", _planes.Registration.CloseIntakeAsync).ConfigureAwait(false);
        if (_endpoints.Running is > 0 and var running)
        {
            LogDraining(_logger, running, DrainLimit.TotalSeconds);
            await _endpoints.WhenIdleAsync(DrainLimit).ConfigureAwait(false);
        }

        if (_roles.HandOvers is { Pending: > 0 } handOvers)
        {
            // Their blocks live in this engine only: a decode worker that finds them gone fails its request.
            LogHandOvers(_logger, handOvers.Pending, DrainLimit.TotalSeconds);
            await WhenPulledAsync(handOvers).ConfigureAwait(false);
        }

        if (_endpoints.Running is > 0 and var left)
        {
            LogAborting(_logger, left);
            Volatile.Write(ref _aborted, left);
            _endpoints.Abort();
            await _endpoints.WhenIdleAsync(AbortLimit).ConfigureAwait(false);
        }
    }

    private async Task WhenPulledAsync(HandOverLedger handOvers)
    {
        using var limit = new CancellationTokenSource(DrainLimit, _time);
        await handOvers.WhenEmptyAsync(limit.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    /// <summary>The endpoint and its address, without the path that each request names.</summary>
    private async Task<string> DescribePlaceAsync()
    {
        var address = await _planes.Registration.AddressOfAsync(_roles.Generate).ConfigureAwait(false);
        return address is null ? _roles.Generate.Id.ToString() : $"{_roles.Generate.Id} at {address.Kind} {address.Value.Split('/')[0]}";
    }

    private Task PutCardAsync(ModelCard card, CancellationToken cancellationToken)
    {
        var endpoint = _roles.Generate.Id;
        var json = card.ToJson();
        LogCard(_logger, endpoint.ToString(), ModelCardChecksum.Compute(json));
        return _planes.Registration.PutAsync(
            "model",
            instance => DiscoveryRecord.Model(endpoint, instance, json.DeepClone().AsObject()),
            cancellationToken
        );
    }

    [LoggerMessage(
        EventId = 5007,
        Level = LogLevel.Information,
        Message = "Model card of {Endpoint} has checksum {Checksum}; workers share traffic only if theirs are equal"
    )]
    private static partial void LogCard(ILogger logger, string endpoint, string checksum);

    [LoggerMessage(EventId = 5010, Level = LogLevel.Information, Message = "Stopping: {Reason}")]
    private static partial void LogStopping(ILogger logger, string reason);

    [LoggerMessage(EventId = 5011, Level = LogLevel.Information, Message = "Draining {Running} requests, for {Seconds} s at most")]
    private static partial void LogDraining(ILogger logger, int running, double seconds);

    [LoggerMessage(
        EventId = 5012,
        Level = LogLevel.Warning,
        Message = "Aborting {Running} requests that did not finish; their callers may migrate them"
    )]
    private static partial void LogAborting(ILogger logger, int running);

    [LoggerMessage(
        EventId = 5019,
        Level = LogLevel.Information,
        Message = "Waiting until decode workers have pulled the blocks of {Pending} hand-overs, for {Seconds} s at most"
    )]
    private static partial void LogHandOvers(ILogger logger, int pending, double seconds);
}
