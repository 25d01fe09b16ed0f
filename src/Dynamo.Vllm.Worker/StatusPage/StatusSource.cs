using System.Net;
using Dynamo.Vllm.Core.Health;
using Dynamo.Vllm.Core.Lifecycle;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Control;
using Dynamo.Vllm.Worker.Hosting;
using Dynamo.Vllm.Worker.ServiceManager;
using Dynamo.Vllm.Worker.Stages;
using Dynamo.Vllm.Worker.StartUp;
using Dynamo.Vllm.Worker.StatusPort;

namespace Dynamo.Vllm.Worker.StatusPage;

/// <summary>Puts the page together from what is known already: nobody is asked, nothing is waited for.</summary>
internal sealed class StatusSource : IStatusSource
{
    private readonly WorkerSettings _settings;
    private readonly StageSequence _stages;
    private readonly StatusLine _line;
    private readonly HealthState _health;
    private readonly EngineArgumentsStage _arguments;
    private readonly PlanesStage _planes;
    private readonly RegistrationStage _registration;
    private readonly ServedEndpoints _endpoints;
    private readonly ConnectionCaps _connections;
    private readonly StatusSamples _samples;
    private readonly RecentProblems _problems;
    private readonly StatusServer _server;
    private readonly Reload _reload;
    private readonly StartProgress _progress;

    public StatusSource(
        WorkerSettings settings,
        StageSequence stages,
        StatusLine line,
        HealthState health,
        EngineArgumentsStage arguments,
        PlanesStage planes,
        RegistrationStage registration,
        ServedEndpoints endpoints,
        ConnectionCaps connections,
        StatusSamples samples,
        RecentProblems problems,
        StatusServer server,
        Reload reload,
        StartProgress progress
    )
    {
        _settings = settings;
        _stages = stages;
        _line = line;
        _health = health;
        _arguments = arguments;
        _planes = planes;
        _registration = registration;
        _endpoints = endpoints;
        _connections = connections;
        _samples = samples;
        _problems = problems;
        _server = server;
        _reload = reload;
        _progress = progress;
    }

    public bool MayDrain =>
        _settings.Arguments.Host.SystemTokenFile is not null || (_server.Address is { } bound && IPAddress.IsLoopback(bound.Address));

    public void Drain() => _reload.Ask();

    public StatusSnapshot Read()
    {
        var configuration = _arguments.ParsedConfiguration;
        return new StatusSnapshot
        {
            State = _line.ToString(),
            Start = _progress.Now,
            Ready = _health.IsReady,
            Live = _health.IsLive,
            Draining = _line.IsReloading || _stages.Position?.Phase == StagePhase.Stopping,
            UptimeSeconds = Math.Round(_health.Uptime.TotalSeconds, 1),
            Model = configuration?.ServedModelName,
            Role = configuration is null ? null : RoleOf(configuration),
            Instance = _planes.Instance?.Hex,
            Place = _registration.Place is { Length: > 0 } place ? place : null,
            Discovery = Word(_settings.Planes.Discovery),
            RequestPlane = Word(_settings.Planes.Request),
            EventPlane = Word(_settings.Planes.Event),
            EngineDrive = _settings.Arguments.Host.EngineDrive,
            EngineProblem = _health.Fault ?? _health.Suspicion,
            Hindrance = _health.Hindrance,
            CallerConnections = _connections.Requests.Open,
            StatusConnections = _connections.Status.Open,
            Endpoints = [.. _endpoints.All.Select(BooksOf)],
            Samples = _samples.All,
            Problems = _problems.All,
        };
    }

    private static string Word<T>(T value)
        where T : struct, Enum => value.ToString().ToLowerInvariant();

    private static string RoleOf(WorkerConfiguration configuration) =>
        configuration.IsEmbeddingWorker ? "embedding"
        : configuration.IsClassifyWorker ? "classify"
        : configuration.Mode switch
        {
            DisaggregationMode.Prefill => "prefill",
            DisaggregationMode.Decode => "decode",
            _ => "agg",
        };

    private static StatusEndpointBooks BooksOf(ServedEndpoint endpoint)
    {
        var balance = endpoint.Ledger.Read();
        return new StatusEndpointBooks(
            endpoint.Id.Name,
            balance.Accepted,
            balance.Open,
            balance.Count(RequestOutcome.Finished),
            balance.Count(RequestOutcome.Failed),
            balance.Count(RequestOutcome.Cancelled),
            balance.Count(RequestOutcome.HandedBack),
            balance.Count(RequestOutcome.Unanswered)
        );
    }
}
