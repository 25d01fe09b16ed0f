namespace Dynamo.Vllm.Worker.Telemetry;

/// <summary>How spans or lines of the log wait for their export; the defaults are OpenTelemetry's.</summary>
internal sealed record BatchLimits
{
    /// <summary>Of those that wait. Later ones are dropped and counted.</summary>
    public int Queued { get; init; } = 2048;

    /// <summary>In one export.</summary>
    public int Batch { get; init; } = 512;

    /// <summary>Between two exports, unless a batch is full before.</summary>
    public required TimeSpan Delay { get; init; }
}
