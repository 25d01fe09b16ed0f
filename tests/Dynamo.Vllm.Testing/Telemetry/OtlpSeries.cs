namespace Dynamo.Vllm.Testing.Telemetry;

/// <summary>One data point as it was received.</summary>
/// <param name="Labels">Attributes in the order of the wire, as <c>name=value</c>.</param>
/// <param name="Start">When it began to count, in nanoseconds; zero for a gauge.</param>
/// <param name="Value">Of a counter or gauge; the sum of a histogram.</param>
/// <param name="Count">Of a histogram.</param>
/// <param name="Bounds">Of a histogram.</param>
/// <param name="Buckets">Of a histogram.</param>
public sealed record OtlpSeries(
    IReadOnlyList<string> Labels,
    ulong Start,
    double Value,
    ulong Count,
    IReadOnlyList<double> Bounds,
    IReadOnlyList<ulong> Buckets
);
