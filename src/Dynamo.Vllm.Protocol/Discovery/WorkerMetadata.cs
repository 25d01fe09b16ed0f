using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol.Hashing;

namespace Dynamo.Vllm.Protocol.Discovery;

/// <summary>All records of one process as the <c>DynamoWorkerMetadata</c> resource holds them (discovery.md, 5). Immutable.</summary>
/// <remarks>Golden file: tests/golden/runtime/kube_requests.jsonl.</remarks>
public sealed class WorkerMetadata
{
    public const string Group = "nvidia.com";

    public const string Version = "v1alpha1";

    public const string Plural = "dynamoworkermetadatas";

    public const string Kind = "DynamoWorkerMetadata";

    /// <summary>Ids travel through JSON numbers of 64-bit floating point there.</summary>
    public const ulong IdMax = (1UL << 53) - 1;

    /// <summary>Ends the bytes of a string in the hasher of Rust.</summary>
    private const byte StringEnd = 0xff;

    private readonly JsonObject _data;

    private WorkerMetadata(JsonObject data) => _data = data;

    public static WorkerMetadata Empty { get; } =
        new(
            new JsonObject
            {
                ["endpoints"] = new JsonObject(),
                ["model_cards"] = new JsonObject(),
                ["event_channels"] = new JsonObject(),
                ["event_sources"] = new JsonObject(),
            }
        );

    public bool IsEmpty => _data.All(map => map.Value!.AsObject().Count == 0);

    /// <summary>The identity that every peer derives from the name of the resource.</summary>
    public static InstanceId InstanceOf(string resourceName)
    {
        var bytes = new byte[Encoding.UTF8.GetByteCount(resourceName) + 1];
        Encoding.UTF8.GetBytes(resourceName, bytes);
        bytes[^1] = StringEnd;
        return new InstanceId(SipHash13.Hash(bytes) & IdMax);
    }

    /// <exception cref="ProtocolException">An id does not survive the way through the API server.</exception>
    public WorkerMetadata With(DiscoveryRecord record)
    {
        CheckIds(record);
        var data = _data.DeepClone().AsObject();
        data[MapOf(record)]![record.Key] = ValueOf(record);
        return new WorkerMetadata(data);
    }

    public WorkerMetadata Without(DiscoveryRecord record)
    {
        var data = _data.DeepClone().AsObject();
        data[MapOf(record)]!.AsObject().Remove(record.Key);
        return new WorkerMetadata(data);
    }

    /// <summary>The maps alone, as <c>/metadata</c> shows them.</summary>
    public JsonObject ToJson() => _data.DeepClone().AsObject();

    /// <summary>The whole resource, owned by the pod so that it goes with it.</summary>
    public JsonObject ToResource(string name, string podName, string podUid) =>
        new()
        {
            ["apiVersion"] = $"{Group}/{Version}",
            ["kind"] = Kind,
            ["metadata"] = new JsonObject
            {
                ["name"] = name,
                ["ownerReferences"] = new JsonArray(
                    new JsonObject
                    {
                        ["apiVersion"] = "v1",
                        ["blockOwnerDeletion"] = false,
                        ["controller"] = name == podName, // one owner may be it, and a pod has several resources in container mode
                        ["kind"] = "Pod",
                        ["name"] = podName,
                        ["uid"] = podUid,
                    }
                ),
            },
            ["spec"] = new JsonObject { ["data"] = ToJson() },
        };

    /// <summary>Values of the records of a bucket in somebody's resource, which may lack any part.</summary>
    public static IEnumerable<JsonObject> ValuesIn(JsonNode? resource, string bucket, string keyPrefix) =>
        ((resource as JsonObject)?["spec"] as JsonObject)?["data"] is JsonObject data && data[MapOf(bucket)] is JsonObject map
            ? map.Where(record => record.Key.StartsWith(keyPrefix, StringComparison.Ordinal))
                .Select(record => record.Value)
                .OfType<JsonObject>()
            : [];

    private static string MapOf(DiscoveryRecord record) => MapOf(record.Bucket);

    private static string MapOf(string bucket) =>
        bucket switch
        {
            DiscoveryRecord.Instances => "endpoints",
            DiscoveryRecord.ModelCards => "model_cards",
            DiscoveryRecord.EventChannels => "event_channels",
            DiscoveryRecord.EventSources => "event_sources",
            _ => throw new ProtocolException($"kubernetes discovery has no place for records of {bucket}"),
        };

    private static JsonObject ValueOf(DiscoveryRecord record)
    {
        var value = record.Value.DeepClone().AsObject();
        if (record.Bucket == DiscoveryRecord.EventChannels && value["scope"] is JsonObject scope)
        {
            // Two fields of an older form, which readers before 1.6 look at.
            var owner = scope["endpoint"] as JsonObject ?? scope;
            value["namespace"] = (string?)owner["namespace"] ?? (string?)owner["name"] ?? "";
            value["component"] = (string?)owner["component"] ?? "";
        }

        return value;
    }

    private static void CheckIds(DiscoveryRecord record)
    {
        foreach (var field in new[] { "instance_id", "publisher_id" })
        {
            if (record.Value[field] is JsonValue value && value.TryGetValue<ulong>(out var id) && id > IdMax)
            {
                throw new ProtocolException($"{field} {id} of {record.Key} is above {IdMax}, which kubernetes discovery cannot carry");
            }
        }
    }
}
