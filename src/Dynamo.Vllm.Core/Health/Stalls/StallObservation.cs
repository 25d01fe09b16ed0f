namespace Dynamo.Vllm.Core.Health.Stalls;

/// <summary>What was seen of the engine in one interval.</summary>
/// <param name="Elapsed">Since the observation before.</param>
/// <param name="IsAlive">A step came, or the engine answered.</param>
/// <param name="HasStepped">It has made a step since it was built: what every first request compiles is behind it.</param>
/// <param name="IsInterpreterAlive">The interpreter answered: if not, the silence may be its own.</param>
/// <param name="IsExpected">A control call that may keep the engine from answering is under way.</param>
/// <param name="Activity">What its processes do; null if unknown.</param>
public readonly record struct StallObservation(
    TimeSpan Elapsed,
    bool IsAlive,
    bool HasStepped,
    bool IsInterpreterAlive,
    bool IsExpected,
    EngineActivity? Activity
);
