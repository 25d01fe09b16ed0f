using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.Discovery;

namespace Dynamo.Vllm.Core.Discovery;

/// <summary>What the registration knows of an endpoint. Changed in the registration's turn only.</summary>
internal sealed class RegisteredEndpoint(ServedEndpoint endpoint)
{
    public ServedEndpoint Endpoint { get; } = endpoint;

    /// <summary>Where it takes requests under the current identity; null before it was bound.</summary>
    public TransportAddress? Address { get; set; }

    public HiddenReasons Hidden { get; set; }

    /// <summary>Its record is in the store, or may be: a write that failed can still have arrived.</summary>
    public bool IsPublished { get; set; }
}
