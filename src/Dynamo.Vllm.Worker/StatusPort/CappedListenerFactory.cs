using System.Net;
using Dynamo.Vllm.Transports;
using Microsoft.AspNetCore.Connections;

namespace Dynamo.Vllm.Worker.StatusPort;

/// <summary>Kestrel's listeners, which give each connection its place of <see cref="ConnectionCap"/>.</summary>
/// <remarks>Where it is accepted: Kestrel accepts without an end, and what it hands to the pool may
/// wait there until a burst of callers has used up the descriptors of the process.</remarks>
internal sealed class CappedListenerFactory : IConnectionListenerFactory
{
    private readonly IConnectionListenerFactory _inner;
    private readonly ConnectionCap _connections;

    /// <param name="inner">Binds.</param>
    /// <param name="connections">Shared by all listeners.</param>
    public CappedListenerFactory(IConnectionListenerFactory inner, ConnectionCap connections)
    {
        _inner = inner;
        _connections = connections;
    }

    public async ValueTask<IConnectionListener> BindAsync(EndPoint endpoint, CancellationToken cancellationToken = default) =>
        new Listener(await _inner.BindAsync(endpoint, cancellationToken).ConfigureAwait(false), _connections);

    private sealed class Listener(IConnectionListener inner, ConnectionCap connections) : IConnectionListener
    {
        public EndPoint EndPoint => inner.EndPoint;

        public async ValueTask<ConnectionContext?> AcceptAsync(CancellationToken cancellationToken = default)
        {
            var connection = await inner.AcceptAsync(cancellationToken).ConfigureAwait(false);
            if (connection is not null)
            {
                ConnectionSeats.Admit(connection, connections);
            }

            return connection;
        }

        public ValueTask UnbindAsync(CancellationToken cancellationToken = default) => inner.UnbindAsync(cancellationToken);

        public ValueTask DisposeAsync() => inner.DisposeAsync();
    }
}
