using Dynamo.Vllm.Protocol.Discovery;

namespace Dynamo.Vllm.Core.Requests;

/// <summary>How requests reach this process: TCP or NATS.</summary>
public interface IRequestPlane : IAsyncDisposable
{
    /// <summary>Why no request can reach this process, and has not been able to for a while; or null. Never waits.</summary>
    string? Hindrance => null;

    /// <summary>Opens the listener or the connection.</summary>
    Task StartAsync(CancellationToken cancellationToken);

    /// <summary>Takes requests for the endpoint from now on. Returns where they are to be sent.</summary>
    Task<TransportAddress> BindAsync(ServedEndpoint endpoint, InstanceId instance, CancellationToken cancellationToken);

    /// <summary>Takes no more requests for the endpoint.</summary>
    Task UnbindAsync(ServedEndpoint endpoint, InstanceId instance);
}
