namespace Dynamo.Vllm.Worker.Telemetry;

/// <summary>How spans wait for their export; the defaults are OpenTelemetry's.</summary>
internal sealed record SpanLimits
{
    /// <summary>Spans that wait. Later ones are dropped and counted.</summary>
    public int Queued { get; init; } = 2048;

    /// <summary>Spans in one export.</summary>
    public int Batch { get; init; } = 512;

    /// <summary>Between two exports, unless a batch is full before.</summary>
    public TimeSpan Delay { get; init; } = TimeSpan.FromSeconds(5);
}
