namespace Dynamo.Vllm.Core.Lifecycle;

/// <summary>By when a loop will be heard of again, so that one that stands still is seen from outside.</summary>
/// <remarks>The loop writes, anybody reads. Without a promise it is never late: it waits for something that has no limit.</remarks>
public sealed class LoopPulse
{
    /// <summary>What a round may take over its own limits: timers and continuations of a machine that is short of cores.</summary>
    public static readonly TimeSpan Tolerance = TimeSpan.FromSeconds(10);

    private const long Never = long.MaxValue;

    private readonly TimeProvider _time;
    private long _due = Never;

    public LoopPulse(string name, TimeProvider time)
    {
        Name = name;
        _time = time;
    }

    /// <summary>Of the loop, as its supervisor knows it.</summary>
    public string Name { get; }

    public bool IsLate => _time.GetTimestamp() > Volatile.Read(ref _due);

    /// <summary>The loop goes on, and will say so again within this time.</summary>
    public void Beat(TimeSpan within) =>
        Volatile.Write(ref _due, _time.GetTimestamp() + (long)(within.TotalSeconds * _time.TimestampFrequency));

    /// <summary>The loop has ended, or waits for something that has no limit.</summary>
    public void Rest() => Volatile.Write(ref _due, Never);
}
