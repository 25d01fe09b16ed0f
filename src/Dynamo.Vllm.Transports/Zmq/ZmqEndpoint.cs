using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace Dynamo.Vllm.Transports.Zmq;

/// <summary>Addresses in ZeroMQ's notation: <c>tcp://host:port</c> and <c>ipc://path</c>.</summary>
internal static class ZmqEndpoint
{
    /// <summary>Connects a socket.</summary>
    /// <exception cref="SocketException">Nobody is there.</exception>
    /// <exception cref="NotSupportedException">A transport that other processes cannot reach or that we do not speak.</exception>
    public static async Task<Socket> ConnectAsync(string endpoint, CancellationToken cancellationToken)
    {
        var address = Parse(endpoint);
        var socket =
            address is UnixDomainSocketEndPoint ? new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified)
            : address.AddressFamily == AddressFamily.Unspecified ? new Socket(SocketType.Stream, ProtocolType.Tcp)
            : new Socket(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            Prepare(socket);
            await socket.ConnectAsync(address, cancellationToken).ConfigureAwait(false);
            return socket;
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    /// <summary>Small messages leave at once, and a host that vanished is noticed.</summary>
    public static void Prepare(Socket socket)
    {
        if (socket.AddressFamily != AddressFamily.Unix)
        {
            socket.NoDelay = true;
            socket.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive, true);
        }
    }

    public static EndPoint Parse(string endpoint)
    {
        if (endpoint.StartsWith("ipc://", StringComparison.Ordinal))
        {
            var path = endpoint["ipc://".Length..];
            return new UnixDomainSocketEndPoint(path.StartsWith('@') ? "\0" + path[1..] : path);
        }

        if (!endpoint.StartsWith("tcp://", StringComparison.Ordinal))
        {
            throw new NotSupportedException($"ZMQ endpoint '{endpoint}' is neither tcp:// nor ipc://; no other process can reach it");
        }

        var address = endpoint["tcp://".Length..];
        var colon = address.LastIndexOf(':');
        var hasPort = int.TryParse(address.AsSpan(colon + 1), NumberStyles.None, CultureInfo.InvariantCulture, out var port);
        if (colon <= 0 || !hasPort || port is < 1 or > 65535)
        {
            throw new NotSupportedException($"ZMQ endpoint '{endpoint}' has no port of 1 to 65535");
        }

        var host = address[..colon].Trim('[', ']');
        return IPAddress.TryParse(host, out var literal) ? new IPEndPoint(literal, port) : new DnsEndPoint(host, port);
    }
}
