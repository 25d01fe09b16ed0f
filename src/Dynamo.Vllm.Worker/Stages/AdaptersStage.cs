using Dynamo.Vllm.Core.Adapters;
using Dynamo.Vllm.Core.Lifecycle;
using Dynamo.Vllm.Transports.Adapters;
using Dynamo.Vllm.Worker.Hosting;
using Dynamo.Vllm.Worker.StatusPort;

namespace Dynamo.Vllm.Worker.Stages;

/// <summary>LoRA adapters can be managed: with <c>--enable-lora</c> by endpoints
/// and control calls, with <c>DYN_LORA_ENABLED</c> over HTTP.</summary>
/// <remarks>Their cards go with the endpoints, in <see cref="RegistrationStage"/>; the engine forgets them with itself.</remarks>
internal sealed class AdaptersStage : IStage
{
    private readonly WorkerSettings _settings;
    private readonly EngineArgumentsStage _arguments;
    private readonly PlanesStage _planes;
    private readonly EndpointsStage _roles;
    private readonly ModelCardSource _cards;
    private readonly EngineRoutes _routes;
    private readonly AdapterRoutes _http;
    private readonly TimeProvider _time;
    private readonly ILogger<AdapterLifecycle> _logger;
    private AdapterSources? _sources;

    public AdaptersStage(
        WorkerSettings settings,
        EngineArgumentsStage arguments,
        PlanesStage planes,
        EndpointsStage roles,
        ModelCardSource cards,
        EngineRoutes routes,
        AdapterRoutes http,
        TimeProvider time,
        ILogger<AdapterLifecycle> logger
    )
    {
        _settings = settings;
        _arguments = arguments;
        _planes = planes;
        _roles = roles;
        _cards = cards;
        _routes = routes;
        _http = http;
        _time = time;
        _logger = logger;
    }

    public string Name => "adapters";

    public TimeSpan DownLimit => TimeSpan.FromSeconds(1);

    public Task UpAsync(CancellationToken cancellationToken)
    {
        if (_roles.Adapters is { } table)
        {
            Add(Create(table));
        }

        return Task.CompletedTask;
    }

    /// <summary>Ends what is still being fetched: nothing of it could be registered any more.</summary>
    public Task DownAsync(StopCause cause)
    {
        _sources?.Dispose();
        return Task.CompletedTask;
    }

    private AdapterLifecycle Create(AdapterTable table)
    {
        var lora = _settings.Runtime.Lora;
        _sources = lora.Enabled ? new AdapterSources(AdapterSourceOptions.Read(_settings.Environment, lora.Path), _time) : null;
        var engine = _arguments.Engine;
        var cards = _cards.CreateAdapterCards(_arguments.Configuration, engine.Description, _planes.Registration, _roles.Generate);
        return new AdapterLifecycle(
            table,
            EndpointsStage.AdapterLimits,
            engine.Control,
            _sources,
            cards,
            _roles.Silence,
            lora.HotSwap,
            _logger
        );
    }

    /// <summary>Null unless the engine takes adapters.</summary>
    public AdapterLifecycle? Lifecycle { get; private set; }

    private void Add(AdapterLifecycle adapters)
    {
        Lifecycle = adapters;
        _roles.Add("load_lora", new AdapterEndpointHandler(adapters.LoadAsync));
        _roles.Add("unload_lora", new AdapterEndpointHandler(adapters.UnloadAsync));
        _roles.Add("list_loras", new AdapterEndpointHandler((_, _) => adapters.ListAsync()));
        _routes.Add(
            "load_lora",
            async (body, cancellation) => (await adapters.LoadAsync(body, cancellation).ConfigureAwait(false)).ToJson(withHotSwap: true)
        );
        _routes.Add(
            "unload_lora",
            async (body, cancellation) => (await adapters.UnloadAsync(body, cancellation).ConfigureAwait(false)).ToJson(withHotSwap: true)
        );
        _http.Adapters = adapters;
    }
}
