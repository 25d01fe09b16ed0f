using System.Net.Sockets;

namespace Dynamo.Vllm.Transports.Tcp;

/// <summary>Turns a connected socket into the stream that is spoken on it: plain or TLS.</summary>
public interface IConnectionSecurity
{
    /// <summary>A connection that a peer opened to us.</summary>
    ValueTask<Stream> SecureAcceptedAsync(Socket socket, CancellationToken cancellationToken);

    /// <summary>A connection that we opened to <paramref name="host"/>.</summary>
    ValueTask<Stream> SecureDialledAsync(Socket socket, string host, CancellationToken cancellationToken);
}
