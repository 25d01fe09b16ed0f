namespace Dynamo.Vllm.Transports.SystemServer;

/// <summary>The system status server (runtime.md, 3.5 and 4).</summary>
public sealed record SystemServerOptions
{
    public required string Host { get; init; }

    /// <summary>0: the system chooses.</summary>
    public required int Port { get; init; }

    /// <summary>Bounds the connections that are accepted.</summary>
    public ConnectionCap Connections { get; init; } = ConnectionCap.Unlimited;

    public string HealthPath { get; init; } = "/health";

    public string LivePath { get; init; } = "/live";

    /// <summary>The reference's meaning of <c>/live</c>: the same as <c>/health</c>.</summary>
    public bool LiveIsReady { get; init; }
}
