namespace Dynamo.Vllm.Core.Health.Stalls;

/// <summary>How long an engine may say nothing, by what its processes do meanwhile (docs/reliability.md, "A hung engine").</summary>
public sealed record StallLimits
{
    /// <summary>How often the engine is looked at. Silence is counted in these,
    /// so that a worker which was itself stopped blames nobody.</summary>
    public TimeSpan Interval { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>Stopped, or without any CPU or GPU time: nothing that ends by
    /// itself looks like this. More than a debugger's short stop.</summary>
    public TimeSpan FrozenSuspect { get; init; } = TimeSpan.FromSeconds(4);

    /// <summary>From here on the callers of a frozen engine are better off elsewhere.</summary>
    public TimeSpan FrozenRelease { get; init; } = TimeSpan.FromSeconds(8);

    /// <summary>Computing and saying nothing. Raised to <see cref="StepMultiple"/> times the slowest recent step.</summary>
    public TimeSpan BusySuspect { get; init; } = TimeSpan.FromSeconds(9);

    /// <summary>From here on the callers of an engine that computes and says
    /// nothing are better off elsewhere. Raised with the one above.</summary>
    public TimeSpan BusyRelease { get; init; } = TimeSpan.FromSeconds(28);

    /// <summary>Compiling, loading on request, or not yet past the first step; zero: stalls are not looked for.</summary>
    /// <remarks>60 s: the longest silence seen of a healthy engine is 33 s
    /// (a kernel compiled at the first request with logprobs).</remarks>
    public TimeSpan Stall { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>The silence after which the engine is given up, whatever it does.</summary>
    public TimeSpan GiveUp => Stall * 2;

    /// <summary>A step may take this many times as long as the slowest one of late before it looks wrong.</summary>
    public double StepMultiple { get; init; } = 4;

    public bool IsOff => Stall <= TimeSpan.Zero;
}
