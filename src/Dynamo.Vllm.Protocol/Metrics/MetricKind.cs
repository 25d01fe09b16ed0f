namespace Dynamo.Vllm.Protocol.Metrics;

/// <summary>What the TYPE line of a family says.</summary>
public enum MetricKind
{
    Untyped,
    Counter,
    Gauge,
    Histogram,
    Summary,
}
