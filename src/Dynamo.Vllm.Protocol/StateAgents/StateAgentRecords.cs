using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Protocol.KvEvents;

namespace Dynamo.Vllm.Protocol.StateAgents;

/// <summary>Discovery records between a worker and the state agent of its namespace (kv-and-load.md, 13).</summary>
public static class StateAgentRecords
{
    public const string Component = "kv_state_agent";

    private const string Hosts = "kv-state-hosts-v2";
    private const string Intents = "kv-state-attachment-intents-v2";

    /// <summary>Of the keys under which agents of the namespace are found, in <see cref="DiscoveryRecord.EventSources"/>.</summary>
    public static string HostsPrefix(string @namespace) => $"{Topic(@namespace, Hosts)}/";

    /// <summary>The agent's own endpoint out of its record; null for one of another version.</summary>
    public static JsonObject? HostOf(JsonObject record) =>
        record["metadata"] is JsonObject metadata && (string?)(metadata["protocol_version"] as JsonValue) == "v2"
            ? metadata["host_instance"] as JsonObject
            : null;

    /// <summary>Asks an agent to follow a rank.</summary>
    /// <param name="namespace">Of the worker and of the agent.</param>
    /// <param name="id">Of this wish.</param>
    /// <param name="host">From <see cref="HostOf"/>.</param>
    /// <param name="producer">Value of the worker's endpoint record.</param>
    /// <param name="worker">Of that record.</param>
    /// <param name="attachment">The rank.</param>
    public static DiscoveryRecord Intent(
        string @namespace,
        PublisherId id,
        JsonObject host,
        JsonObject producer,
        InstanceId worker,
        StateAttachment attachment
    )
    {
        var metadata = new JsonObject
        {
            ["target_host"] = host.DeepClone(),
            ["producer_instance"] = Producer(producer),
            ["intent_incarnation"] = id.Value,
            ["cache_owner_id"] = attachment.Owner.ToJson(),
            ["worker"] = new JsonObject { ["worker_id"] = worker.Value, ["dp_rank"] = attachment.Rank },
            ["kv_state_endpoint"] = new JsonObject
            {
                ["namespace"] = attachment.StateEndpoint.Namespace,
                ["component"] = attachment.StateEndpoint.Component,
                ["name"] = attachment.StateEndpoint.Name,
            },
            ["indexer_domain_id"] = attachment.Owner.Domain,
            ["kv_block_size"] = attachment.BlockSize,
            ["ingress_protocol"] = "vllm_residency_v1",
            ["raw_zmq_endpoint"] = attachment.EngineEndpoint,
            ["raw_topic"] = "",
        };
        AddUnlessNull(metadata, "image_token_id", attachment.ImageToken);
        AddUnlessNull(metadata, "video_token_id", attachment.VideoToken);
        AddUnlessNull(metadata, "router_hint_source", attachment.HintSource?.DeepClone());
        return new DiscoveryRecord(
            DiscoveryRecord.EventSources,
            $"{Topic(@namespace, Intents)}/{id.Hex}",
            new JsonObject
            {
                ["type"] = "EventSource",
                ["scope"] = new JsonObject
                {
                    ["kind"] = "component",
                    ["namespace"] = @namespace,
                    ["component"] = Component,
                },
                ["topic"] = Intents,
                ["publisher_id"] = id.Value,
                ["metadata"] = metadata,
            }
        );
    }

    private static JsonObject Producer(JsonObject endpoint)
    {
        var producer = new JsonObject();
        foreach (var name in (ReadOnlySpan<string>)["component", "endpoint", "namespace", "instance_id", "transport"])
        {
            producer[name] = endpoint[name]?.DeepClone();
        }

        return producer;
    }

    private static void AddUnlessNull(JsonObject json, string name, JsonNode? value)
    {
        if (value is not null)
        {
            json[name] = value;
        }
    }

    private static string Topic(string @namespace, string topic) =>
        $"namespace/{EventTopic.Escape(@namespace)}/component/{EventTopic.Escape(Component)}/topic/{EventTopic.Escape(topic)}";
}
