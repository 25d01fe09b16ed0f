using System.Net;
using System.Net.Sockets;

namespace Dynamo.Vllm.Transports.Media;

/// <summary>Connects to what a name resolves to, asked once: the addresses that are looked at are those that are connected to.</summary>
/// <remarks>So a name server that answers differently the next time gains nothing.</remarks>
/// <param name="allowsInternal">No address is refused.</param>
/// <param name="resolve">Addresses of a name.</param>
internal sealed class GuardedConnections(bool allowsInternal, Func<string, CancellationToken, Task<IPAddress[]>> resolve)
{
    /// <summary>Name of the request's field, for the refusal.</summary>
    public static readonly HttpRequestOptionsKey<string> Field = new("dynamo.media.field");

    public async ValueTask<Stream> ConnectAsync(SocketsHttpConnectionContext context, CancellationToken cancellationToken)
    {
        var host = context.DnsEndPoint.Host;
        var addresses = IPAddress.TryParse(host, out var literal)
            ? [literal]
            : await resolve(host, cancellationToken).ConfigureAwait(false);
        if (!allowsInternal && Array.Find(addresses, BlockedAddresses.Contains) is { } blocked)
        {
            context.InitialRequestMessage.Options.TryGetValue(Field, out var field);
            throw MediaRefusal.Of(field ?? "media", $"the host '{MediaRefusal.Short(host)}' resolves to {blocked}, which is internal");
        }

        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        try
        {
            await socket.ConnectAsync(addresses, context.DnsEndPoint.Port, cancellationToken).ConfigureAwait(false);
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }
}
