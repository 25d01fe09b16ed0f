namespace Dynamo.Vllm.Protocol.Metrics;

/// <summary>Samples under one name.</summary>
/// <param name="Name">As its TYPE line has it.</param>
/// <param name="Kind">Of the same line.</param>
/// <param name="Help">Unescaped; empty without a HELP line.</param>
/// <param name="Samples">In the order of the text; empty where nothing has been counted yet.</param>
public sealed record MetricFamily(string Name, MetricKind Kind, string Help, IReadOnlyList<MetricSample> Samples);
