namespace Dynamo.Vllm.Engine.Guest;

/// <summary>Signs of life: one more for whatever only a step of the engine can have caused. Thread-safe.</summary>
internal sealed class StepCounter
{
    private long _count;

    public long Value => Volatile.Read(ref _count);

    public void Count() => Interlocked.Increment(ref _count);
}
