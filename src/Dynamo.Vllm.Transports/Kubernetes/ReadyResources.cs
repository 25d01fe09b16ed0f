using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol.Discovery;
using k8s;

namespace Dynamo.Vllm.Transports.Kubernetes;

/// <summary>What others have in the store: their resources, as far as their pods are ready (discovery.md, 5).</summary>
internal sealed class ReadyResources(k8s.Kubernetes client, PodIdentity pod)
{
    /// <summary>Pods and slices that take part in discovery carry it.</summary>
    private const string TakesPart = "nvidia.com/dynamo-discovery-enabled=true";

    public async Task<IReadOnlyList<JsonObject>> ListAsync(string bucket, string keyPrefix, CancellationToken cancellationToken)
    {
        var ready = pod.IsContainerMode
            ? await ReadyContainersAsync(cancellationToken).ConfigureAwait(false)
            : await ReadyPodsAsync(cancellationToken).ConfigureAwait(false);
        var resources = await client
            .CustomObjects.ListNamespacedCustomObjectAsync<JsonElement>(
                WorkerMetadata.Group,
                WorkerMetadata.Version,
                pod.Namespace,
                WorkerMetadata.Plural,
                cancellationToken: cancellationToken
            )
            .ConfigureAwait(false);
        return
        [
            .. (JsonNode.Parse(resources.GetRawText())?["items"] as JsonArray ?? [])
                .Where(resource => IsOwnedByOneOf(ready, resource))
                .SelectMany(resource => WorkerMetadata.ValuesIn(resource, bucket, keyPrefix)),
        ];
    }

    private static bool IsOwnedByOneOf(HashSet<(string Resource, string PodUid)> ready, JsonNode? resource)
    {
        var metadata = resource?["metadata"];
        return (string?)metadata?["name"] is { } name
            && (metadata["ownerReferences"] as JsonArray ?? []).Any(owner =>
                (string?)owner?["kind"] == "Pod" && (string?)owner["uid"] is { } uid && ready.Contains((name, uid))
            );
    }

    private async Task<HashSet<(string Resource, string PodUid)>> ReadyPodsAsync(CancellationToken cancellationToken)
    {
        var slices = await client
            .DiscoveryV1.ListNamespacedEndpointSliceAsync(pod.Namespace, labelSelector: TakesPart, cancellationToken: cancellationToken)
            .ConfigureAwait(false);
        return
        [
            .. slices
                .Items.SelectMany(slice => slice.Endpoints ?? [])
                .Where(endpoint => endpoint.Conditions?.Ready == true && endpoint.TargetRef is { Name: not null, Uid: { Length: > 0 } })
                .Select(endpoint => (endpoint.TargetRef.Name, endpoint.TargetRef.Uid)),
        ];
    }

    private async Task<HashSet<(string Resource, string PodUid)>> ReadyContainersAsync(CancellationToken cancellationToken)
    {
        var pods = await client
            .CoreV1.ListNamespacedPodAsync(pod.Namespace, labelSelector: TakesPart, cancellationToken: cancellationToken)
            .ConfigureAwait(false);
        return
        [
            .. pods
                .Items.Where(pod => pod.Metadata.Uid is { Length: > 0 })
                .SelectMany(pod =>
                    (pod.Status?.ContainerStatuses ?? [])
                        .Where(container => container.Ready)
                        .Select(container => (PodIdentity.ResourceNameOf(pod.Metadata.Name, container.Name), pod.Metadata.Uid))
                ),
        ];
    }
}
