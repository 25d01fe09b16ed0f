using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.Discovery;

namespace Dynamo.Vllm.IntegrationTests;

/// <summary>A plane that takes no requests: for tests that look only at records.</summary>
internal sealed class RequestPlaneFake : IRequestPlane
{
    public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task<TransportAddress> BindAsync(ServedEndpoint endpoint, InstanceId instance, CancellationToken cancellationToken) =>
        Task.FromResult(TransportAddress.Tcp("127.0.0.1:1", instance, endpoint.Id));

    public Task UnbindAsync(ServedEndpoint endpoint, InstanceId instance) => Task.CompletedTask;

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;
}
