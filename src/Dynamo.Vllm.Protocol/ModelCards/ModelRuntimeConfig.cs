using System.Text.Json.Nodes;

namespace Dynamo.Vllm.Protocol.ModelCards;

/// <summary>The engine's limits and this worker's settings, as routers and frontends read them (llm-registration.md, 2.3).</summary>
public sealed record ModelRuntimeConfig
{
    public uint? ContextLength { get; init; }

    /// <summary>KV blocks per data-parallel rank; 0 if unknown, null on adapter cards.</summary>
    public ulong? TotalKvBlocks { get; init; }

    public ulong? MaxNumSeqs { get; init; }

    public ulong? MaxNumBatchedTokens { get; init; }

    public string? ToolCallParser { get; init; }

    public string? ReasoningParser { get; init; }

    /// <summary>The structural-tag object, or null when switched off.</summary>
    public JsonObject? StructuralTag { get; init; }

    public bool ExcludeToolsWhenToolChoiceNone { get; init; } = true;

    public uint DataParallelStartRank { get; init; }

    public uint DataParallelSize { get; init; } = 1;

    public bool? KvEventPublishingEnabled { get; init; }

    /// <summary>Who publishes in the worker's place; null: nobody.</summary>
    public string? KvEventSourceMode { get; init; }

    public JsonNode? KvStateEndpoint { get; init; }

    /// <summary>Free keys in the order in which they are written.</summary>
    public JsonObject RuntimeData { get; init; } = [];

    public IReadOnlyList<string> Taints { get; init; } = [];

    /// <summary>An operator has set the taints: from then on the list is written even when it is empty, as by the reference.</summary>
    public bool HasTaintUpdate { get; init; }

    public string? StableRoutingId { get; init; }

    public IReadOnlyDictionary<string, string> TopologyDomains { get; init; } = new Dictionary<string, string>();

    public string? KvTransferDomain { get; init; }

    public string? KvTransferEnforcement { get; init; }

    /// <summary>Single precision, as the reference keeps it: its card says 0.4000000059604645 for 0.4.</summary>
    public float? KvTransferPreferredWeight { get; init; }

    public uint? MaxGpuLoraCount { get; init; }

    /// <summary>The object in the reference's field order.</summary>
    public JsonObject ToJson()
    {
        var json = new JsonObject();
        Set(json, "context_length", ContextLength);
        json["total_kv_blocks"] = TotalKvBlocks;
        json["max_num_seqs"] = MaxNumSeqs;
        json["max_num_batched_tokens"] = MaxNumBatchedTokens;
        json["tool_call_parser"] = ToolCallParser;
        json["reasoning_parser"] = ReasoningParser;
        json["tool_call_arguments_format"] = "json_string";
        Set(json, "structural_tag", StructuralTag?.DeepClone());
        json["structural_tag_mode"] = StructuralTag is null ? "off" : "on";
        json["structural_tag_scope"] = StructuralTag?["scope"]?.GetValue<string>() ?? "auto";
        json["structural_tag_schema"] = StructuralTag?["schema"]?.GetValue<string>() ?? "auto";
        json["exclude_tools_when_tool_choice_none"] = ExcludeToolsWhenToolChoiceNone;
        json["data_parallel_start_rank"] = DataParallelStartRank;
        json["data_parallel_size"] = DataParallelSize;
        json["enable_local_indexer"] = true;
        Set(json, "kv_event_publishing_enabled", KvEventPublishingEnabled);
        Set(json, "kv_event_source_mode", KvEventSourceMode);
        Set(json, "kv_state_endpoint", KvStateEndpoint?.DeepClone());
        if (RuntimeData.Count > 0)
        {
            json["runtime_data"] = RuntimeData.DeepClone();
        }

        json["enable_eagle"] = false;
        AddTopology(json);
        Set(json, "max_gpu_lora_count", MaxGpuLoraCount);
        return json;
    }

    private void AddTopology(JsonObject json)
    {
        if (Taints.Count > 0 || HasTaintUpdate)
        {
            json["taints"] = new JsonArray([.. Taints.Select(taint => JsonValue.Create(taint))]);
        }

        Set(json, "stable_routing_id", StableRoutingId);
        if (TopologyDomains.Count > 0)
        {
            json["topology_domains"] = new JsonObject(TopologyDomains.Select(pair => KeyValuePair.Create(pair.Key, (JsonNode?)pair.Value)));
        }

        Set(json, "kv_transfer_domain", KvTransferDomain);
        Set(json, "kv_transfer_enforcement", KvTransferEnforcement);
        Set(json, "kv_transfer_preferred_weight", (double?)KvTransferPreferredWeight);
    }

    private static void Set(JsonObject json, string key, JsonNode? value)
    {
        if (value is not null)
        {
            json[key] = value;
        }
    }
}
