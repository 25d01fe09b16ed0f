using System.Text.Json.Serialization;
using Dynamo.Vllm.Worker.StartUp;

namespace Dynamo.Vllm.Worker.StatusPage;

/// <summary>What the status page shows, at one moment.</summary>
internal sealed record StatusSnapshot
{
    /// <summary>The line that a service manager shows, too.</summary>
    public required string State { get; init; }

    /// <summary>Null once every stage is up.</summary>
    public StartState? Start { get; init; }

    public required bool Ready { get; init; }

    public required bool Live { get; init; }

    /// <summary>Out of discovery, while what runs may finish: a reload or a stop is under way.</summary>
    public required bool Draining { get; init; }

    public required double UptimeSeconds { get; init; }

    /// <summary>Null until the options are read.</summary>
    public string? Model { get; init; }

    /// <summary>agg, prefill, decode; embedding, classify.</summary>
    public string? Role { get; init; }

    /// <summary>Identity in discovery, in hexadecimal.</summary>
    public string? Instance { get; init; }

    /// <summary>Where requests are taken.</summary>
    public string? Place { get; init; }

    public required string Discovery { get; init; }

    public required string RequestPlane { get; init; }

    public required string EventPlane { get; init; }

    public required string EngineDrive { get; init; }

    /// <summary>Why the engine is suspected or given up.</summary>
    public string? EngineProblem { get; init; }

    /// <summary>What outside of this process keeps callers from it.</summary>
    public string? Hindrance { get; init; }

    /// <summary>Peers: open connections of callers (with requests over TCP), and of probes, scrapes and pages.</summary>
    public required int CallerConnections { get; init; }

    public required int StatusConnections { get; init; }

    public required IReadOnlyList<StatusEndpointBooks> Endpoints { get; init; }

    public required IReadOnlyList<StatusSample> Samples { get; init; }

    public required IReadOnlyList<RecentProblem> Problems { get; init; }
}

/// <summary>For <c>/status.json</c>.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull
)]
[JsonSerializable(typeof(StatusSnapshot))]
internal sealed partial class StatusSnapshotContext : JsonSerializerContext;
