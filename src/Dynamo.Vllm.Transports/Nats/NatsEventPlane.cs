using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.KvEvents;
using Dynamo.Vllm.Protocol.KvEvents;

namespace Dynamo.Vllm.Transports.Nats;

/// <summary>Events over core NATS: the bare envelope on the topic's subject (kv-and-load.md, 5.5).</summary>
/// <remarks>Shares the connection of the request plane, if that is NATS, too.</remarks>
public sealed class NatsEventPlane : IEventPlane
{
    private readonly NatsEventPublisher _publisher;

    public NatsEventPlane(NatsLink link) => _publisher = new NatsEventPublisher(link);

    public string Name => "nats";

    public bool BatchesSequences => false;

    public async ValueTask<IEventPublisher> OpenAsync(EventTopic topic, CancellationToken cancellationToken)
    {
        await _publisher.StartAsync(cancellationToken).ConfigureAwait(false);
        return new TopicPublisher(_publisher, topic);
    }

    public ValueTask DisposeAsync() => ValueTask.CompletedTask; // the connection has its own owner

    private sealed class TopicPublisher : IEventPublisher
    {
        private readonly NatsEventPublisher _publisher;
        private readonly EventTopic _topic;
        private long _dropped;

        public TopicPublisher(NatsEventPublisher publisher, EventTopic topic)
        {
            _publisher = publisher;
            _topic = topic;
        }

        public JsonObject? Transport =>
            new()
            {
                ["kind"] = "Nats",
                ["config"] = new JsonObject { ["subject_prefix"] = _topic.SubjectPrefix },
            };

        public long Dropped => Interlocked.Read(ref _dropped);

        public async ValueTask PublishAsync(EventMessage message, CancellationToken cancellationToken)
        {
            try
            {
                await _publisher.PublishAsync(_topic.Subject, message.Envelope, cancellationToken).ConfigureAwait(false);
            }
            catch (Exception exception) when (exception is NATS.Client.Core.NatsException or TimeoutException or OperationCanceledException)
            {
                // Routers see the gap in the sequence and ask the recovery endpoint.
                Interlocked.Increment(ref _dropped);
            }
        }

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }
}
