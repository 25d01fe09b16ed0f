using Dynamo.Vllm.Protocol;
using NATS.Client.Core;

namespace Dynamo.Vllm.Transports.Nats;

/// <summary>Publishes bytes to subjects over the shared connection, for an event plane.</summary>
/// <remarks>
/// NATS delivers at most once: what was accepted here shortly before a connection broke may be lost, so users resynchronise after
/// <see cref="Reconnected"/>. While there is no connection a message waits for it, up to the limit in the options, and then fails.
/// Thread-safe.
/// </remarks>
public sealed class NatsEventPublisher
{
    private readonly NatsLink _link;

    /// <param name="link">Not disposed by the publisher.</param>
    public NatsEventPublisher(NatsLink link) => _link = link;

    /// <summary>Messages published before may have been lost.</summary>
    public event Action? Reconnected
    {
        add => _link.Reconnected += value;
        remove => _link.Reconnected -= value;
    }

    /// <summary>Largest payload that the server takes.</summary>
    public int PayloadBytesMax => _link.PayloadBytesMax;

    public Task StartAsync(CancellationToken cancellationToken) => _link.ConnectAsync(cancellationToken);

    /// <summary>Sends a message to whoever listens.</summary>
    /// <remarks>The payload is copied before the call completes.</remarks>
    /// <exception cref="ProtocolException">The payload is larger than the server takes.</exception>
    /// <exception cref="IOException">No connection within the limit.</exception>
    public ValueTask PublishAsync(string subject, ReadOnlyMemory<byte> payload, CancellationToken cancellationToken = default)
    {
        if (payload.Length > PayloadBytesMax)
        {
            throw new ProtocolException(
                $"a NATS message of {payload.Length} bytes is above the server's limit {PayloadBytesMax} (max_payload)"
            );
        }

        var publish = _link.Connection.PublishAsync(
            subject,
            payload,
            serializer: NatsRawSerializer<ReadOnlyMemory<byte>>.Default,
            cancellationToken: cancellationToken
        );
        return publish.IsCompletedSuccessfully ? ValueTask.CompletedTask : MapAsync(publish, subject, cancellationToken);
    }

    private static async ValueTask MapAsync(ValueTask publish, string subject, CancellationToken cancellationToken)
    {
        try
        {
            await publish.ConfigureAwait(false);
        }
        catch (Exception exception)
            when (exception is NatsException or ObjectDisposedException or TimeoutException
                || (exception is OperationCanceledException && !cancellationToken.IsCancellationRequested)
            )
        {
            throw new IOException($"NATS: cannot publish to {subject}: {exception.Message}", exception);
        }
    }
}
