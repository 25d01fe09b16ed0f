namespace Dynamo.Vllm.Protocol.KvEvents;

/// <summary>Topics of a worker; all are scoped to its generate endpoint (kv-and-load.md, 5.2).</summary>
public static class EventTopics
{
    public const string KvEvents = "kv-events";

    public const string KvMetrics = "kv_metrics";

    public const string ActiveSequences = "active_sequences_events";

    public const string ForwardPassMetrics = "forward-pass-metrics";
}
