namespace Dynamo.Vllm.Testing.Telemetry;

/// <summary>One metric as it was received.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Kind">Gauge, Sum or Histogram, with temporality and monotonicity.</param>
/// <param name="Description">Help text.</param>
/// <param name="Metadata">As <c>name=value</c>.</param>
/// <param name="Series">Data points.</param>
public sealed record OtlpFamily(
    string Name,
    string Kind,
    string Description,
    IReadOnlyList<string> Metadata,
    IReadOnlyList<OtlpSeries> Series
);
