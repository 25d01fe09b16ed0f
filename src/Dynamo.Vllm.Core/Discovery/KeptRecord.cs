using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.Discovery;

namespace Dynamo.Vllm.Core.Discovery;

/// <summary>A record that the registration keeps in the store. Changed in the registration's turn only.</summary>
/// <param name="make">The record under an identity.</param>
/// <param name="endpoint">It is seen only while this endpoint is; null: always.</param>
internal sealed class KeptRecord(Func<InstanceId, DiscoveryRecord> make, ServedEndpoint? endpoint)
{
    public ServedEndpoint? Endpoint { get; } = endpoint;

    /// <summary>False once it was to be removed: if the store did not hear of that, it must not come back with the next identity.</summary>
    public bool IsWanted { get; set; } = true;

    /// <summary>It is in the store, or may be: a write that failed can still have arrived.</summary>
    public bool IsPublished { get; set; }

    public DiscoveryRecord For(InstanceId instance) => make(instance);
}
