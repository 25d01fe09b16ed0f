namespace Dynamo.Vllm.Engine.Direct;

/// <summary>What the engine said of one step (docs/protocol/engine-core.md, 5).</summary>
/// <param name="shares">Outputs of requests that are known here.</param>
/// <param name="hasOutputs">It had outputs, though perhaps only of requests that were aborted meanwhile: it was an iteration.</param>
/// <param name="scheduler">Null if it came without.</param>
/// <param name="timestamp">The engine's monotonic clock, in seconds.</param>
internal readonly ref struct EngineStep(ReadOnlySpan<StepShare> shares, bool hasOutputs, SchedulerSample? scheduler, double timestamp)
{
    public ReadOnlySpan<StepShare> Shares { get; } = shares;

    public bool HasOutputs { get; } = hasOutputs;

    public SchedulerSample? Scheduler { get; } = scheduler;

    public double Timestamp { get; } = timestamp;
}
