using System.Globalization;
using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Core.Health;
using Dynamo.Vllm.Core.Lifecycle;
using Dynamo.Vllm.Core.Metrics;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Core.Tracing;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Transports.Tcp;
using Dynamo.Vllm.Worker.Hosting;
using Dynamo.Vllm.Worker.StatusPort;

namespace Dynamo.Vllm.Worker.Stages;

/// <summary>The process has an identity in discovery and listens for requests; nothing is registered yet.</summary>
internal sealed partial class PlanesStage : IStage
{
    private readonly WorkerSettings _settings;
    private readonly ConnectionCaps _connections;
    private readonly MetricsPage _metrics;
    private readonly MetadataPage _metadata;
    private readonly HealthState _health;
    private readonly StorePatience _patience;
    private readonly StopSteps _steps;
    private readonly TimeProvider _time;
    private readonly ILoggerFactory _loggers;
    private readonly ILogger<PlanesStage> _logger;
    private PlaneFactory? _factory;
    private IDiscovery? _discovery;
    private IRequestPlane? _requests;
    private WorkerRegistration? _registration;

    public PlanesStage(
        WorkerSettings settings,
        ConnectionCaps connections,
        MetricsPage metrics,
        MetadataPage metadata,
        HealthState health,
        StorePatience patience,
        StopSteps steps,
        TimeProvider time,
        ILoggerFactory loggers
    )
    {
        _settings = settings;
        _connections = connections;
        _metrics = metrics;
        _metadata = metadata;
        _health = health;
        _patience = patience;
        _steps = steps;
        _time = time;
        _loggers = loggers;
        _logger = loggers.CreateLogger<PlanesStage>();
    }

    public string Name => "planes";

    /// <summary>Where the start ended here, the store is told; else only connections are closed.</summary>
    public TimeSpan DownLimit => StorePatience.Limit + TimeSpan.FromSeconds(5);

    public PlaneFactory Factory => _factory!;

    public WorkerRegistration Registration => _registration!;

    public RequestDispatcher Dispatcher { get; private set; } = null!;

    /// <summary>The identity now; null before there is one.</summary>
    public InstanceId? Instance => _registration?.Instance;

    public RuntimeMetrics Metrics => _metrics.RuntimeMetrics!;

    public async Task UpAsync(CancellationToken cancellationToken)
    {
        var runtime = _settings.Runtime;
        _factory = new PlaneFactory(_settings.Planes, runtime, _settings.Environment, _connections, _time, _loggers);
        var security = _factory.CreateSecurity();
        _discovery = _factory.CreateDiscovery();
        await _factory.ConnectAsync(cancellationToken).ConfigureAwait(false);
        var instance = await _discovery.JoinAsync(cancellationToken).ConfigureAwait(false);
        _metadata.Show(_discovery);
        _health.AddHindrance(() => _discovery.Hindrance);
        _metrics.RuntimeMetrics = new RuntimeMetrics(_metrics.Runtime, instance.Hex);
        Dispatcher = new RequestDispatcher(
            new TcpCallHomeDialer(security, _time, _loggers.CreateLogger<TcpCallHomeDialer>()),
            _factory.CreateAdmission(),
            Metrics.Dispatcher,
            _time,
            _loggers.CreateLogger<RequestDispatcher>(),
            new RequestTracing(instance.Value.ToString(CultureInfo.InvariantCulture), _time)
        );
        _requests = _factory.CreateRequestPlane(Dispatcher, security);
        await _requests.StartAsync(cancellationToken).ConfigureAwait(false);
        _health.AddHindrance(() => _requests.Hindrance);
        _registration = Register(_discovery, _requests, instance);
        LogJoined(_logger, _discovery.Name, instance.Hex);
        for (var i = 1; i < _settings.Instances; i++)
        {
            await AddInstanceAsync(_factory, _requests, cancellationToken).ConfigureAwait(false);
        }
    }

    public async Task DownAsync(StopCause cause)
    {
        if (_registration is not null)
        {
            await _steps.TryAsync("leave discovery", () => _patience.RunAsync(_registration.LeaveAsync)).ConfigureAwait(false);
            await _steps.TryAsync("discovery", () => _registration.DisposeAsync().AsTask()).ConfigureAwait(false);
        }
        else if (_discovery is not null)
        {
            await _steps.TryAsync("discovery", () => _discovery.DisposeAsync().AsTask()).ConfigureAwait(false);
        }

        if (_requests is not null)
        {
            await _steps.TryAsync("request plane", () => _requests.DisposeAsync().AsTask()).ConfigureAwait(false);
        }

        if (_factory is not null)
        {
            await _steps.TryAsync("connections", () => _factory.DisposeAsync().AsTask()).ConfigureAwait(false);
        }
    }

    /// <summary>One more identity, with a lease of its own, under which the same endpoints take requests.</summary>
    private async Task AddInstanceAsync(PlaneFactory factory, IRequestPlane requests, CancellationToken cancellationToken)
    {
        var discovery = factory.CreateDiscovery();
        var companion = Register(discovery, requests);
        _registration!.Add(companion);
        await companion.JoinAsync(cancellationToken).ConfigureAwait(false);
        _health.AddHindrance(() => discovery.Hindrance);
        LogJoined(_logger, discovery.Name, companion.Instance.Hex);
    }

    private WorkerRegistration Register(IDiscovery discovery, IRequestPlane requests, InstanceId joined = default) =>
        new(
            discovery,
            requests,
            _settings.Runtime.DeviceType,
            _settings.Runtime.RequestPlaneCodec,
            _time,
            _loggers.CreateLogger<WorkerRegistration>(),
            joined
        );

    [LoggerMessage(EventId = 5003, Level = LogLevel.Information, Message = "Joined {Discovery} discovery as instance {Instance}")]
    private static partial void LogJoined(ILogger logger, string discovery, string instance);
}
