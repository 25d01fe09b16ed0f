using Dynamo.Vllm.Core.KvEvents;
using Dynamo.Vllm.Core.Lifecycle;
using Dynamo.Vllm.Transports.Zmq;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Hosting;

namespace Dynamo.Vllm.Worker.Stages;

/// <summary>Cache events, load and first tokens for routers: before the first request, whose events would be lost.</summary>
/// <remarks>The first stage that puts something into the store, so it is the one that leaves the store for good.</remarks>
internal sealed class EventPlaneStage : IStage
{
    private readonly EngineArgumentsStage _arguments;
    private readonly PlanesStage _planes;
    private readonly StorePatience _patience;
    private readonly StopSteps _steps;
    private readonly TimeProvider _time;
    private readonly ILoggerFactory _loggers;
    private IEventPlane? _events;
    private KvRelayService? _relay;

    public EventPlaneStage(
        EngineArgumentsStage arguments,
        PlanesStage planes,
        StorePatience patience,
        StopSteps steps,
        TimeProvider time,
        ILoggerFactory loggers
    )
    {
        _arguments = arguments;
        _planes = planes;
        _patience = patience;
        _steps = steps;
        _time = time;
        _loggers = loggers;
    }

    public string Name => "event plane";

    /// <summary>The store twice, and the last events on the wire.</summary>
    public TimeSpan DownLimit => StorePatience.Limit + StorePatience.LimitAgain + TimeSpan.FromSeconds(2);

    /// <summary>Null for a role that has nothing to tell routers.</summary>
    public KvRelayService? Relay => _relay;

    public async Task UpAsync(CancellationToken cancellationToken)
    {
        var configuration = _arguments.Configuration;
        if (configuration.IsPoolingWorker)
        {
            return;
        }

        var endpoint = configuration.EndpointId(configuration.Endpoint);
        var registration = _planes.Registration;
        _events = await _planes
            .Factory.CreateEventPlaneAsync(registration, configuration.Namespace, cancellationToken)
            .ConfigureAwait(false);
        _relay = new KvRelayService(
            new KvRelayOptions
            {
                RelaysKvEvents = configuration.UseKvEvents,
                PublishesFirstTokens = configuration.Mode != DisaggregationMode.Prefill,
                ImageToken = _arguments.Engine.Description.Multimodal.ImageToken,
                VideoToken = _arguments.Engine.Description.Multimodal.VideoToken,
                ForwardPassPort = configuration.ForwardPassMetrics ? configuration.ForwardPassMetricsPort : null,
            },
            _arguments.Engine,
            endpoint,
            registration,
            _events,
            new ZmqEventFeed(_time),
            _planes.Metrics,
            _time,
            _loggers.CreateLogger<KvRelayService>()
        );
        await _relay.StartAsync(cancellationToken).ConfigureAwait(false);
    }

    public async Task DownAsync(StopCause cause)
    {
        if (_relay is not null)
        {
            await _steps.TryAsync("KV relay", () => _patience.RunAsync(_relay.StopAsync)).ConfigureAwait(false);
        }

        if (_events is not null)
        {
            await _steps.TryAsync("event plane", () => _events.DisposeAsync().AsTask()).ConfigureAwait(false);
        }

        await _steps.TryAsync("leave discovery", () => _patience.RunAsync(_planes.Registration.LeaveAsync)).ConfigureAwait(false);
    }
}
