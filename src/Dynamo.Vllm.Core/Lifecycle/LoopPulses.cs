using System.Collections.Immutable;

namespace Dynamo.Vllm.Core.Lifecycle;

/// <summary>The pulses of all loops that the worker cannot be without. Thread-safe.</summary>
public sealed class LoopPulses
{
    private readonly TimeProvider _time;
    private ImmutableList<LoopPulse> _all = [];

    public LoopPulses(TimeProvider time) => _time = time;

    /// <summary>Name of a loop that has missed its time, or null.</summary>
    public string? Late => Volatile.Read(ref _all).Find(pulse => pulse.IsLate)?.Name;

    public LoopPulse Add(string name)
    {
        var pulse = new LoopPulse(name, _time);
        ImmutableInterlocked.Update(ref _all, (all, added) => all.Add(added), pulse);
        return pulse;
    }
}
