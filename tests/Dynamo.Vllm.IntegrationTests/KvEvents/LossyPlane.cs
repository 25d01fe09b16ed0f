using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.KvEvents;
using Dynamo.Vllm.Protocol.KvEvents;

namespace Dynamo.Vllm.IntegrationTests.KvEvents;

/// <summary>An event plane that loses the messages it is told to lose.</summary>
internal sealed class LossyPlane : IEventPlane
{
    private readonly IEventPlane _plane;

    public LossyPlane(IEventPlane plane) => _plane = plane;

    public string Name => _plane.Name;

    public bool BatchesSequences => _plane.BatchesSequences;

    /// <summary>KV events are lost while this is set.</summary>
    public volatile bool Loses;

    public async ValueTask<IEventPublisher> OpenAsync(EventTopic topic, CancellationToken cancellationToken) =>
        new Publisher(this, topic.Name == EventTopics.KvEvents, await _plane.OpenAsync(topic, cancellationToken));

    public ValueTask DisposeAsync() => _plane.DisposeAsync();

    private sealed class Publisher : IEventPublisher
    {
        private readonly LossyPlane _owner;
        private readonly bool _mayLose;
        private readonly IEventPublisher _publisher;

        public Publisher(LossyPlane owner, bool mayLose, IEventPublisher publisher)
        {
            _owner = owner;
            _mayLose = mayLose;
            _publisher = publisher;
        }

        public JsonObject? Transport => _publisher.Transport;

        public long Dropped => _publisher.Dropped;

        public ValueTask PublishAsync(EventMessage message, CancellationToken cancellationToken) =>
            _mayLose && _owner.Loses ? ValueTask.CompletedTask : _publisher.PublishAsync(message, cancellationToken);

        public ValueTask DisposeAsync() => _publisher.DisposeAsync();
    }
}
