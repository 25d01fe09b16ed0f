namespace Dynamo.Vllm.Core.Health;

/// <summary>Limits of the engine monitor (behaviour.md, 8; docs/operations.md).</summary>
public sealed record EngineMonitorOptions
{
    /// <summary>DYN_ENGINE_HEALTH_CHECK_INTERVAL.</summary>
    public TimeSpan Interval { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>DYN_ENGINE_HEALTH_CHECK_TIMEOUT; zero: no limit.</summary>
    public TimeSpan CheckTimeout { get; init; } = TimeSpan.FromSeconds(30);
}
