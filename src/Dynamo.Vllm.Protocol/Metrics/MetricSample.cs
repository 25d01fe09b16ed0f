namespace Dynamo.Vllm.Protocol.Metrics;

/// <summary>One line of values.</summary>
/// <param name="Name">The family's, with an ending for the parts of a histogram or summary.</param>
/// <param name="Labels">In the order of the text.</param>
/// <param name="Value">May be infinite or not a number.</param>
public sealed record MetricSample(string Name, IReadOnlyList<KeyValuePair<string, string>> Labels, double Value);
