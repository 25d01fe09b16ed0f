using Dynamo.Vllm.Worker.Hosting;

namespace Dynamo.Vllm.Worker.StatusPort;

/// <summary>What an operator can choose about the status port's routes.</summary>
internal sealed record StatusEndpointOptions
{
    public string HealthPath { get; init; } = "/health";

    public string LivePath { get; init; } = "/live";

    /// <summary>The reference's meaning of <see cref="LivePath"/>: the same as <see cref="HealthPath"/>.</summary>
    public bool LiveIsReady { get; init; }

    /// <summary>LoRA adapters are managed here.</summary>
    public bool HasAdapters { get; init; }

    /// <summary>Where gRPC is served, and nothing else; null: nowhere.</summary>
    public int? GrpcPort { get; init; }

    /// <summary>Requests are taken there.</summary>
    public bool TakesGrpcRequests { get; init; }

    /// <summary>Ports that are the status port's twins, but for the metrics.</summary>
    public IReadOnlyList<int> FurtherPorts { get; init; } = [];

    /// <summary>Holds the token that guards control calls and the status page; null: they are open, as in the reference.</summary>
    public string? TokenFile { get; init; }

    /// <summary>One of these is an operator's own path of a probe, which goes first.</summary>
    public bool IsPath(params ReadOnlySpan<string> paths) => paths.Contains(HealthPath) || paths.Contains(LivePath);

    public static StatusEndpointOptions From(WorkerSettings settings) =>
        new()
        {
            HealthPath = settings.Runtime.SystemServer.HealthPath,
            LivePath = settings.Runtime.SystemServer.LivePath,
            LiveIsReady = settings.Arguments.Host.LiveIsReady,
            HasAdapters = settings.Runtime.Lora.Enabled,
            GrpcPort = settings.Arguments.Host.GrpcPort,
            TakesGrpcRequests = settings.Arguments.Host.GrpcRequests,
            TokenFile = settings.Arguments.Host.SystemTokenFile,
            FurtherPorts = settings.FurtherStatusPorts,
        };
}
