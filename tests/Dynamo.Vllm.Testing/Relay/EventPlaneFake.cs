using System.Collections.Concurrent;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.KvEvents;
using Dynamo.Vllm.Protocol.KvEvents;

namespace Dynamo.Vllm.Testing.Relay;

/// <summary>An event plane that keeps what it is given. Messages can be awaited.</summary>
public sealed class EventPlaneFake : IEventPlane
{
    private readonly ConcurrentQueue<(EventTopic Topic, ulong Sequence, byte[] Envelope)> _messages = new();
    private readonly SemaphoreSlim _arrived = new(0);

    public string Name => "fake";

    public bool BatchesSequences { get; init; } = true;

    /// <summary>Thrown by each publication while set.</summary>
    public Exception? Failure { get; set; }

    /// <summary>The next message of any topic.</summary>
    public async Task<(EventTopic Topic, ulong Sequence, byte[] Envelope)> NextAsync()
    {
        Assert.True(await _arrived.WaitAsync(TimeSpan.FromSeconds(30)), "no event message within 30 s");
        Assert.True(_messages.TryDequeue(out var message));
        return message;
    }

    public ValueTask<IEventPublisher> OpenAsync(EventTopic topic, CancellationToken cancellationToken) => new(new Publisher(this, topic));

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;

    private sealed class Publisher : IEventPublisher
    {
        private readonly EventPlaneFake _owner;
        private readonly EventTopic _topic;

        public Publisher(EventPlaneFake owner, EventTopic topic)
        {
            _owner = owner;
            _topic = topic;
        }

        public JsonObject? Transport => new() { ["kind"] = "Fake" };

        public long Dropped => 0;

        public ValueTask PublishAsync(EventMessage message, CancellationToken cancellationToken)
        {
            if (_owner.Failure is { } failure)
            {
                throw failure;
            }

            _owner._messages.Enqueue((_topic, message.Sequence, message.Envelope.ToArray()));
            _owner._arrived.Release();
            return ValueTask.CompletedTask;
        }

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }
}
