using System.Globalization;
using Dynamo.Vllm.Core;
using Dynamo.Vllm.Core.KvEvents;
using Dynamo.Vllm.Core.Lifecycle;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Transports.Zmq;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Configuration.Options;
using Dynamo.Vllm.Worker.ForwardPasses;
using Dynamo.Vllm.Worker.Hosting;
using Dynamo.Vllm.Worker.Models;
using Dynamo.Vllm.Worker.Models.Cards;
using Dynamo.Vllm.Worker.StateAgents;
using Dynamo.Vllm.Worker.StatusPort;

namespace Dynamo.Vllm.Worker.Stages;

/// <summary>Cache events, load and first tokens for routers: before the first request, whose events would be lost.</summary>
/// <remarks>The first stage that puts something into the store, so it is the one that leaves the store for good.</remarks>
internal sealed partial class EventPlaneStage : IStage
{
    /// <summary>For the last passes of a trace. A disk that hangs is not waited for.</summary>
    private static readonly TimeSpan TraceLimit = TimeSpan.FromSeconds(1);

    private readonly WorkerSettings _settings;
    private readonly EngineArgumentsStage _arguments;
    private readonly PlanesStage _planes;
    private readonly MetricsPage _metrics;
    private readonly StorePatience _patience;
    private readonly StopSteps _steps;
    private readonly TimeProvider _time;
    private readonly ILoggerFactory _loggers;
    private readonly ILogger<EventPlaneStage> _logger;
    private readonly LoopSupervisor _loops;
    private IEventPlane? _events;
    private KvRelayService? _relay;

    public EventPlaneStage(
        WorkerSettings settings,
        EngineArgumentsStage arguments,
        PlanesStage planes,
        MetricsPage metrics,
        WorkerLifetime lifetime,
        LoopPulses pulses,
        StorePatience patience,
        StopSteps steps,
        TimeProvider time,
        ILoggerFactory loggers
    )
    {
        _settings = settings;
        _arguments = arguments;
        _planes = planes;
        _metrics = metrics;
        _patience = patience;
        _steps = steps;
        _time = time;
        _loggers = loggers;
        _logger = loggers.CreateLogger<EventPlaneStage>();
        _loops = new LoopSupervisor(lifetime.Fail, pulses, time, loggers.CreateLogger<LoopSupervisor>());
    }

    public string Name => "event plane";

    /// <summary>The store twice, and the last events on the wire and on the disk.</summary>
    public TimeSpan DownLimit => StorePatience.Limit + StorePatience.LimitAgain + TimeSpan.FromSeconds(2) + TraceLimit;

    /// <summary>Null for a role that has nothing to tell routers.</summary>
    public KvRelayService? Relay => _relay;

    public async Task UpAsync(CancellationToken cancellationToken)
    {
        var configuration = _arguments.Configuration;
        if (configuration.HasOneEndpoint)
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
                RelaysKvEvents = configuration.UseKvEvents && configuration.StateAgent is null,
                PublishesFirstTokens = configuration.Mode != DisaggregationMode.Prefill,
                ImageToken = _arguments.Engine.Description.Multimodal.ImageToken,
                VideoToken = _arguments.Engine.Description.Multimodal.VideoToken,
                ForwardPassPort = configuration.ForwardPassMetrics ? configuration.ForwardPassMetricsPort : null,
                ForwardPassListener = StartTrace(configuration, endpoint),
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

        await _steps.TryAsync("trace of forward passes", () => _loops.StopAsync(TraceLimit)).ConfigureAwait(false);
        if (_events is not null)
        {
            await _steps.TryAsync("event plane", () => _events.DisposeAsync().AsTask()).ConfigureAwait(false);
        }

        await _steps.TryAsync("leave discovery", () => _patience.RunAsync(_planes.Registration.LeaveAsync)).ConfigureAwait(false);
    }

    /// <summary>With a state agent: begins to look for it. Once the endpoint is served, whose address the agent is told.</summary>
    public void Attach(ServedEndpoint generate)
    {
        var configuration = _arguments.Configuration;
        if (configuration.StateAgent is not { } settings)
        {
            return;
        }

        try
        {
            var engine = _arguments.Engine.Description;
            var role = ModelCardFactory.WorkerType(configuration.Mode);
            var hints = KvHintCapability.Sources(engine.KvConnectorExtraConfig, role, engine.DataParallelStart, engine.DataParallelSize);
            var attachment = new StateAgentAttachment(
                _planes.Registration,
                generate,
                StateAttachments.Create(settings, engine, StateEndpoint(configuration, generate.Id), hints, role),
                RandomBits.Next,
                _time,
                _loggers.CreateLogger<StateAgentAttachment>()
            );
            _loops.Start("state agent", LoopRule.Restart, attachment.RunAsync);
        }
        catch (ConfigurationException exception)
        {
            // As in the reference: routers see nothing of the cache, requests are served.
            LogNotAttached(_logger, exception.Message);
        }
    }

    private static EndpointId StateEndpoint(WorkerConfiguration configuration, EndpointId generate) =>
        ModelCardFactory.KvStateEndpoint(configuration) is { } named
            ? new EndpointId((string)named["namespace"]!, (string)named["component"]!, (string)named["name"]!)
            : generate;

    /// <summary>Null where no passes are relayed, or no trace of them is asked for or possible.</summary>
    private PassTrace? StartTrace(WorkerConfiguration configuration, EndpointId endpoint)
    {
        if (!configuration.ForwardPassMetrics || !_settings.Options.Get(RuntimeOptions.FpmTrace))
        {
            return null;
        }

        try
        {
            var trace = new PassTrace(
                PassTraceOptions.Read(_settings.Environment),
                endpoint,
                RandomBits.Next().ToString(CultureInfo.InvariantCulture),
                _metrics.Worker,
                _time,
                _loggers.CreateLogger<PassTrace>()
            );
            _loops.Start("trace of forward passes", LoopRule.Restart, trace.RunAsync);
            return trace;
        }
        catch (ConfigurationException exception)
        {
            LogNoTrace(_logger, exception.Message);
            return null;
        }
    }

    [LoggerMessage(
        EventId = 5156,
        Level = LogLevel.Error,
        Message = "KV state-agent attachment setup failed; KV routing remains disabled: {Problem}"
    )]
    private static partial void LogNotAttached(ILogger logger, string problem);

    [LoggerMessage(EventId = 5155, Level = LogLevel.Warning, Message = "invalid FPM trace configuration; tracing disabled: {Problem}")]
    private static partial void LogNoTrace(ILogger logger, string problem);
}
