using System.Net.Sockets;

namespace Dynamo.Vllm.Transports.Tcp;

/// <summary>No TLS.</summary>
public sealed class PlainConnections : IConnectionSecurity
{
    public ValueTask<Stream> SecureAcceptedAsync(Socket socket, CancellationToken cancellationToken) =>
        new(new NetworkStream(socket, ownsSocket: true));

    public ValueTask<Stream> SecureDialledAsync(Socket socket, string host, CancellationToken cancellationToken) =>
        new(new NetworkStream(socket, ownsSocket: true));
}
