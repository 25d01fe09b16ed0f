using Dynamo.Vllm.Core;
using Dynamo.Vllm.Core.Adapters;
using Dynamo.Vllm.Core.Classification;
using Dynamo.Vllm.Core.Disaggregation;
using Dynamo.Vllm.Core.Embeddings;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Generate;
using Dynamo.Vllm.Core.Health;
using Dynamo.Vllm.Core.Health.Stalls;
using Dynamo.Vllm.Core.ImageEncoding;
using Dynamo.Vllm.Core.Lifecycle;
using Dynamo.Vllm.Core.Multimodal;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Core.TextGeneration;
using Dynamo.Vllm.Engine.Processes;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Transports.Media;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Configuration.Options;
using Dynamo.Vllm.Worker.Control;
using Dynamo.Vllm.Worker.Hosting;
using Dynamo.Vllm.Worker.StatusPort;

namespace Dynamo.Vllm.Worker.Stages;

/// <summary>The endpoints of the worker's role exist, and the engine behind them is watched; nobody can see them yet.</summary>
/// <remarks>The stall watch lives here, below <see cref="RegistrationStage"/>: what hangs during a drain has callers, too.</remarks>
internal sealed class EndpointsStage : IStage
{
    public static readonly AdapterLimits AdapterLimits = new();

    private static readonly TimeSpan LoopLimit = TimeSpan.FromSeconds(2);

    private readonly WorkerSettings _settings;
    private readonly EngineArgumentsStage _arguments;
    private readonly PlanesStage _planes;
    private readonly EventPlaneStage _events;
    private readonly BenchmarkStage _benchmark;
    private readonly EncodersStage _encoders;
    private readonly ServedEndpoints _endpoints;
    private readonly MetricsPage _metrics;
    private readonly HealthState _health;
    private readonly StatusServer _status;
    private readonly TimeProvider _time;
    private readonly IIdSource _ids;
    private readonly ILoggerFactory _loggers;
    private readonly LoopSupervisor _loops;
    private MediaSource? _media;

    public EndpointsStage(
        WorkerSettings settings,
        EngineArgumentsStage arguments,
        PlanesStage planes,
        EventPlaneStage events,
        BenchmarkStage benchmark,
        EncodersStage encoders,
        ServedEndpoints endpoints,
        MetricsPage metrics,
        HealthState health,
        StatusServer status,
        WorkerLifetime lifetime,
        LoopPulses pulses,
        TimeProvider time,
        IIdSource ids,
        ILoggerFactory loggers
    )
    {
        _settings = settings;
        _arguments = arguments;
        _planes = planes;
        _events = events;
        _benchmark = benchmark;
        _encoders = encoders;
        _endpoints = endpoints;
        _metrics = metrics;
        _health = health;
        _status = status;
        _time = time;
        _ids = ids;
        _loggers = loggers;
        _loops = new LoopSupervisor(lifetime.Fail, pulses, time, loggers.CreateLogger<LoopSupervisor>());
    }

    public string Name => "endpoints";

    public TimeSpan DownLimit => LoopLimit;

    public ServedEndpoint Generate { get; private set; } = null!;

    /// <summary>Of requests for tokens; null on a worker that generates nothing.</summary>
    public GenerateOptions? Options { get; private set; }

    /// <summary>For what makes the engine stand still.</summary>
    public ExpectedSilence Silence { get; } = new();

    /// <summary>The LoRA adapters that are loaded; null unless the engine takes some.</summary>
    public AdapterTable? Adapters { get; private set; }

    /// <summary>What this worker has prefilled and nobody has pulled yet; null unless it is a prefill worker.</summary>
    public HandOverLedger? HandOvers { get; private set; }

    public Task UpAsync(CancellationToken cancellationToken)
    {
        var configuration = _arguments.Configuration;
        if (configuration.IsEmbeddingWorker)
        {
            Generate = Add(configuration.Endpoint, new EmbeddingHandler(_arguments.Engine, configuration.ServedModelName));
        }
        else if (configuration.IsClassifyWorker)
        {
            Generate = Add(configuration.Endpoint, new ClassificationHandler(_arguments.Engine, configuration.ServedModelName, _time));
        }
        else if (configuration.IsEncodeWorker)
        {
            Generate = Add(configuration.Endpoint, new ImageEncodeHandler(_arguments.Engine, CreateMediaSource()));
        }
        else
        {
            Adapters = configuration.Engine.EnableLora ? new AdapterTable(AdapterLimits) : null;
            Generate = Add(configuration.Endpoint, CreateGenerateHandler(configuration));
            Add("clear_kv_blocks", new ClearKvBlocksHandler(_arguments.Engine.Control));
            Add("get_perf_metrics", new PerfMetricsHandler(_benchmark.Results));
            if (_settings.Options.Get(VllmOptions.EnableRl))
            {
                Add("rl", new RlEndpointHandler(Adapters is not null, () => _status.Url, _arguments.Engine.Description.WorldSize));
            }
        }

        _loops.Watch("stall watch", LoopRule.Fatal, CreateStallWatch(configuration).RunAsync);
        return Task.CompletedTask;
    }

    public Task DownAsync(StopCause cause)
    {
        _media?.Dispose();
        return _loops.StopAsync(LoopLimit);
    }

    /// <summary>One more endpoint of this worker. Before <see cref="RegistrationStage"/>, which publishes them.</summary>
    public ServedEndpoint Add(string name, IEndpointHandler handler)
    {
        var configuration = _arguments.Configuration;
        var id = configuration.EndpointId(name);
        // Those of a worker that generates nothing bear the model string, and no served name, as in the reference.
        var metrics = configuration.HasOneEndpoint
            ? _planes.Metrics.ForEndpoint(id, configuration.Model, "")
            : _planes.Metrics.ForEndpoint(id, configuration.ServedModelName);
        var endpoint = new ServedEndpoint(id, handler, metrics);
        _endpoints.Add(endpoint);
        return endpoint;
    }

    private IEndpointHandler CreateGenerateHandler(WorkerConfiguration configuration)
    {
        var engine = _arguments.Engine;
        var firstTokens = _events.Relay?.FirstTokens;
        var options = Options = new GenerateOptions
        {
            BaseModelNames = configuration.BaseModelNames,
            EnablePromptEmbeds = configuration.Engine.EnablePromptEmbeds,
            LoraEnabled = configuration.Engine.EnableLora && _settings.Runtime.Lora.Enabled,
            Media =
                configuration.Options.Get(VllmOptions.EnableMultimodal) && !configuration.TakesText
                    ? CreateMediaLoader(engine.Description)
                    : null,
            EnableReinforcementLearning = _settings.Options.Get(VllmOptions.EnableRl),
        };
        if (configuration.TakesText)
        {
            return new TextHandler(engine, configuration.Mode == DisaggregationMode.Decode, firstTokens, _time);
        }

        return configuration.Mode switch
        {
            DisaggregationMode.Prefill => CreatePrefillHandler(options),
            DisaggregationMode.Decode => new DecodeHandler(engine, options, Adapters, firstTokens),
            _ => new AggregatedHandler(engine, options, Adapters, firstTokens),
        };
    }

    private MediaLoader CreateMediaLoader(EngineDescription engine) => new(CreateMediaSource(), engine, _encoders.Workers);

    private MediaSource CreateMediaSource() =>
        _media = new MediaSource(_settings.Runtime.Media, _time, _loggers.CreateLogger<MediaSource>());

    private PrefillHandler CreatePrefillHandler(GenerateOptions options)
    {
        var engine = _arguments.Engine;
        HandOvers = new HandOverLedger(engine.Description.KvLease, _time, _metrics.Worker, engine.Description.DataParallelSize);
        engine.LoadChanged += HandOvers.Observe;
        return new PrefillHandler(engine, options, Adapters, KvConnectorProtocols.Resolve(engine.Description, _ids), HandOvers);
    }

    private StallWatch CreateStallWatch(WorkerConfiguration configuration)
    {
        var devices = _settings.Environment.GetValueOrDefault("CUDA_VISIBLE_DEVICES");
        var gpu = _settings.Runtime.DeviceType == "cuda" ? GpuActivity.TryOpen(devices) : null;
        return new StallWatch(
            _arguments.Engine,
            new EngineProcessActivity(configuration.Engine.IsOnThisHost, gpu),
            Silence,
            _settings.Arguments.Host.Stalls,
            _health,
            _planes.Registration,
            Generate,
            _time,
            _loggers.CreateLogger<StallWatch>()
        );
    }
}
