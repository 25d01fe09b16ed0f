using System.Globalization;
using System.Net;
using System.Net.Sockets;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.Requests;

namespace Dynamo.Vllm.Transports.Tcp;

/// <summary>Opens the connection on which a request is answered (request-plane.md, 2).</summary>
public sealed class TcpCallHomeDialer : ICallHomeDialer
{
    /// <summary>The caller listens before it sends the request, so a connection that takes longer will not come.</summary>
    private static readonly TimeSpan ConnectTimeLimit = TimeSpan.FromSeconds(10);

    private readonly IConnectionSecurity _security;
    private readonly TimeProvider _time;

    public TcpCallHomeDialer(IConnectionSecurity security, TimeProvider time)
    {
        _security = security;
        _time = time;
    }

    public async Task<ICallHome> DialAsync(RequestEnvelope envelope, CancellationToken cancellationToken)
    {
        var endpoint = ParseAddress(envelope.ResponseAddress);
        var socket = new Socket(endpoint.AddressFamily, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        try
        {
            using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
            limit.CancelAfter(ConnectTimeLimit);
            await socket.ConnectAsync(endpoint, limit.Token).ConfigureAwait(false);
            var stream = await _security.SecureDialledAsync(socket, endpoint.Address.ToString(), limit.Token).ConfigureAwait(false);
            return new TcpCallHome(stream, envelope, _time);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    private static IPEndPoint ParseAddress(string address)
    {
        var colon = address.LastIndexOf(':');
        var host = colon < 0 ? "" : address[..colon].Trim('[', ']');
        if (!IPAddress.TryParse(host, out var ip)
            || !ushort.TryParse(address.AsSpan(colon + 1), NumberStyles.None, CultureInfo.InvariantCulture, out var port) || port == 0)
        {
            throw new FormatException($"response address '{address}' is not ip:port");
        }

        return new IPEndPoint(ip, port);
    }
}
