namespace Dynamo.Vllm.Core.Health;

/// <summary>Limits of the engine monitor (behaviour.md, 8; docs/operations.md).</summary>
public sealed record EngineMonitorOptions
{
    /// <summary>DYN_ENGINE_HEALTH_CHECK_INTERVAL.</summary>
    public TimeSpan Interval { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>DYN_ENGINE_HEALTH_CHECK_TIMEOUT; zero: no limit.</summary>
    public TimeSpan CheckTimeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>No step for this long with work pending is a stall; zero: stalls are not looked for.</summary>
    /// <remarks>60 s: the longest silence seen of a healthy engine is 33 s (a kernel compiled at the first request with logprobs).</remarks>
    public TimeSpan StallTimeout { get; init; } = TimeSpan.FromSeconds(60);
}
