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

    private static readonly TimeSpan RetryWaitFirst = TimeSpan.FromMilliseconds(50);
    private static readonly TimeSpan RetryWaitMax = TimeSpan.FromSeconds(1);

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
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(ConnectTimeLimit);
        for (var wait = RetryWaitFirst; ; wait *= 2)
        {
            try
            {
                return await DialOnceAsync(endpoint, envelope, limit.Token).ConfigureAwait(false);
            }
            catch (Exception exception) when (exception is SocketException or IOException && wait < RetryWaitMax)
            {
                // The caller waits for ever for a connection that never comes, so a burst that ran out of ports or backlog is worth a few tries.
                await Task.Delay(wait, _time, limit.Token).ConfigureAwait(false);
            }
        }
    }

    private async Task<ICallHome> DialOnceAsync(IPEndPoint endpoint, RequestEnvelope envelope, CancellationToken cancellationToken)
    {
        var socket = new Socket(endpoint.AddressFamily, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        try
        {
            await socket.ConnectAsync(endpoint, cancellationToken).ConfigureAwait(false);
            var stream = await _security.SecureDialledAsync(socket, endpoint.Address.ToString(), cancellationToken).ConfigureAwait(false);
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
