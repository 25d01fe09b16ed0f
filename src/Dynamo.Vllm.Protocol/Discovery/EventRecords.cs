using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol.KvEvents;

namespace Dynamo.Vllm.Protocol.Discovery;

/// <summary>Discovery records of event publishers (discovery.md, 2.3; kv-and-load.md, 7).</summary>
public static class EventRecords
{
    /// <summary>Where a topic's messages can be received.</summary>
    /// <param name="transport"><c>{"kind":"Zmq","config":{"endpoint":...}}</c> or
    /// <c>{"kind":"Nats","config":{"subject_prefix":...}}</c>.</param>
    public static DiscoveryRecord Channel(EventTopic topic, JsonObject transport) =>
        new(
            DiscoveryRecord.EventChannels,
            topic.Key,
            new JsonObject
            {
                ["type"] = "EventChannel",
                ["scope"] = Scope(topic.Scope),
                ["topic"] = topic.Name,
                ["instance_id"] = topic.Publisher.Value,
                ["transport"] = transport,
            }
        );

    /// <summary>Whose cache a publisher speaks for, and where what was missed can be asked for.</summary>
    /// <param name="recovery">Value of the query endpoint's record, or null if there is none.</param>
    public static DiscoveryRecord Source(EventTopic topic, InstanceId worker, int rank, JsonObject? recovery)
    {
        var metadata = new JsonObject
        {
            ["kv_state_endpoint"] = Endpoint(topic.Scope),
            ["worker"] = new JsonObject { ["worker_id"] = worker.Value, ["dp_rank"] = rank },
            ["publisher_id"] = topic.Publisher.Value,
        };
        if (recovery is not null)
        {
            recovery.Remove("type");
            metadata["recovery_target"] = recovery;
        }

        return new(
            DiscoveryRecord.EventSources,
            topic.Key,
            new JsonObject
            {
                ["type"] = "EventSource",
                ["scope"] = Scope(topic.Scope),
                ["topic"] = topic.Name,
                ["publisher_id"] = topic.Publisher.Value,
                ["metadata"] = metadata,
            }
        );
    }

    private static JsonObject Scope(EndpointId endpoint) => new() { ["kind"] = "endpoint", ["endpoint"] = Endpoint(endpoint) };

    private static JsonObject Endpoint(EndpointId endpoint) =>
        new()
        {
            ["namespace"] = endpoint.Namespace,
            ["component"] = endpoint.Component,
            ["name"] = endpoint.Name,
        };
}
