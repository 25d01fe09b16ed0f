using System.Text.Json.Nodes;

namespace Dynamo.Vllm.Protocol.Discovery;

/// <summary>One record in a discovery store: bucket, key inside the bucket, JSON value (discovery.md, 1-2).</summary>
/// <remarks>Golden files: tests/golden/runtime/file_store_contents.json, etcd_dump_tcp.txt, tests/golden/llm/cards.json.</remarks>
public sealed record DiscoveryRecord(string Bucket, string Key, JsonObject Value)
{
    public const string Instances = "v1/instances";

    public const string ModelCards = "v1/mdc";

    public const string EventChannels = "v1/event_channels";

    public const string EventSources = "v1/event_sources";

    /// <summary>Key across buckets, as etcd stores it.</summary>
    public string FullKey => $"{Bucket}/{Key}";

    /// <summary>An endpoint that takes requests.</summary>
    /// <param name="deviceType"><c>cpu</c> or <c>cuda</c>; read by heterogeneous routing only.</param>
    public static DiscoveryRecord Endpoint(
        EndpointId endpoint,
        InstanceId instance,
        TransportAddress transport,
        string deviceType,
        PayloadCodec codec
    ) => new(Instances, KeyOf(endpoint, instance), EndpointValue(endpoint, instance, transport, deviceType, codec));

    /// <summary>A model served by an endpoint; <paramref name="suffix"/> names a LoRA adapter.</summary>
    public static DiscoveryRecord Model(EndpointId endpoint, InstanceId instance, JsonObject card, string? suffix = null)
    {
        var value = new JsonObject
        {
            ["type"] = "Model",
            ["namespace"] = endpoint.Namespace,
            ["component"] = endpoint.Component,
            ["endpoint"] = endpoint.Name,
            ["instance_id"] = instance.Value,
            ["card_json"] = card,
        };
        if (suffix is not null)
        {
            value["model_suffix"] = suffix;
        }

        var key = KeyOf(endpoint, instance);
        return new(ModelCards, suffix is null ? key : $"{key}/{suffix}", value);
    }

    /// <summary>Key of an endpoint or model of one process.</summary>
    public static string KeyOf(EndpointId endpoint, InstanceId instance) =>
        $"{endpoint.Namespace}/{endpoint.Component}/{endpoint.Name}/{instance.Hex}";

    /// <summary>The endpoint record's value; also embedded in event-source records.</summary>
    public static JsonObject EndpointValue(
        EndpointId endpoint,
        InstanceId instance,
        TransportAddress transport,
        string deviceType,
        PayloadCodec codec
    ) =>
        new()
        {
            ["type"] = "Endpoint",
            ["component"] = endpoint.Component,
            ["endpoint"] = endpoint.Name,
            ["namespace"] = endpoint.Namespace,
            ["instance_id"] = instance.Value,
            ["transport"] = new JsonObject { [transport.Kind] = transport.Value },
            ["device_type"] = deviceType,
            ["request_plane_codec"] = codec == PayloadCodec.MessagePack ? "msgpack" : "json",
        };
}
