using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.Responses;

namespace Dynamo.Vllm.Testing.Relay;

/// <summary>A request plane within the test: endpoints are bound and can be called.</summary>
public sealed class RequestPlaneFake : IRequestPlane
{
    public List<ServedEndpoint> Bound { get; } = [];

    public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task<TransportAddress> BindAsync(ServedEndpoint endpoint, InstanceId instance, CancellationToken cancellationToken)
    {
        Bound.Add(endpoint);
        return Task.FromResult(TransportAddress.Tcp("127.0.0.1:1", instance, endpoint.Id));
    }

    public Task UnbindAsync(ServedEndpoint endpoint, InstanceId instance) => Task.CompletedTask;

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;

    /// <summary>Collects the bare items of one answer.</summary>
    public sealed class Answer : IResponseWriter
    {
        public List<byte[]> Items { get; } = [];

        public ValueTask WriteAsync(TokenDelta delta) =>
            throw new RequestFailedException(DynamoError.Unknown("no tokens are expected here"));

        public ValueTask WriteAsync(ReadOnlyMemory<byte> json) =>
            throw new RequestFailedException(DynamoError.Unknown("no JSON is expected here"));

        public ValueTask WriteBareAsync(ReadOnlyMemory<byte> messagePack)
        {
            Items.Add(messagePack.ToArray());
            return ValueTask.CompletedTask;
        }
    }
}
