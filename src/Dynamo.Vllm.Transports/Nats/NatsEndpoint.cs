using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Protocol.Nats;
using NATS.Client.Core;

namespace Dynamo.Vllm.Transports.Nats;

/// <summary>An endpoint under one subject, and what came in on it. Counted by its loop alone; read by anybody.</summary>
internal sealed class NatsEndpoint(ServedEndpoint endpoint, InstanceId instance, INatsSub<NatsPayload> subscription)
{
    private long _requests;
    private long _errors;
    private long _nanoseconds;
    private volatile string _lastError = "";

    public ServedEndpoint Endpoint { get; } = endpoint;

    public InstanceId Instance { get; } = instance;

    public INatsSub<NatsPayload> Subscription { get; } = subscription;

    public string Subject { get; } = subscription.Subject;

    public Task Reading { get; set; } = Task.CompletedTask;

    public void Count(string? refusal, TimeSpan elapsed)
    {
        Interlocked.Increment(ref _requests);
        Interlocked.Add(ref _nanoseconds, (long)elapsed.TotalNanoseconds);
        if (refusal is not null)
        {
            Interlocked.Increment(ref _errors);
            _lastError = refusal;
        }
    }

    public MicroServiceEndpoint Snapshot(MicroService service) =>
        new(
            service.EndpointName(Endpoint.Id, Instance),
            Subject,
            Interlocked.Read(ref _requests),
            Interlocked.Read(ref _errors),
            Interlocked.Read(ref _nanoseconds),
            _lastError
        );
}
