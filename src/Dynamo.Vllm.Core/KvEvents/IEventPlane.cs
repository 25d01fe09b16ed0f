using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol.KvEvents;

namespace Dynamo.Vllm.Core.KvEvents;

/// <summary>How events reach routers: ZMQ sockets of our own, a ZMQ broker, or NATS.</summary>
public interface IEventPlane : IAsyncDisposable
{
    /// <summary>For logs and errors: zmq, zmq-broker, nats.</summary>
    string Name { get; }

    /// <summary>First-token events travel as batches; on NATS each is a message of its own (kv-and-load.md, 11).</summary>
    bool BatchesSequences { get; }

    /// <summary>Opens what one publisher needs. The topic's publisher id is used for nothing else.</summary>
    ValueTask<IEventPublisher> OpenAsync(EventTopic topic, CancellationToken cancellationToken);
}

/// <summary>The sending side of one topic. One caller at a time.</summary>
public interface IEventPublisher : IAsyncDisposable
{
    /// <summary>
    /// The <c>transport</c> value of the topic's channel record, a new object each time; null where no such record is made (broker).
    /// </summary>
    JsonObject? Transport { get; }

    /// <summary>Messages that were lost for a subscriber that did not keep up.</summary>
    long Dropped { get; }

    /// <summary>Sends a message to whoever listens. Never waits for a subscriber.</summary>
    /// <param name="message">Its envelope is valid until the call has completed.</param>
    /// <param name="cancellationToken">Stops waiting for the transport.</param>
    ValueTask PublishAsync(EventMessage message, CancellationToken cancellationToken);
}
