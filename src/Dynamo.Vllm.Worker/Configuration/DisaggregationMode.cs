namespace Dynamo.Vllm.Worker.Configuration;

/// <summary>Which phases of a request this worker runs.</summary>
public enum DisaggregationMode
{
    Aggregated,
    Prefill,
    Decode,
    Encode,
}
