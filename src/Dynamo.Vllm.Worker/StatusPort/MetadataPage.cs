using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Discovery;

namespace Dynamo.Vllm.Worker.StatusPort;

/// <summary>What <c>/metadata</c> shows: this process's records, once it is in a store that has such a view.</summary>
internal sealed class MetadataPage
{
    private IDiscovery? _store;

    public JsonObject? Current => Volatile.Read(ref _store)?.Metadata;

    public void Show(IDiscovery store) => Volatile.Write(ref _store, store);
}
