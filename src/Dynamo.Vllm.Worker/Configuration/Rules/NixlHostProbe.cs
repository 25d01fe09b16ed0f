using System.Net;
using System.Net.Sockets;

namespace Dynamo.Vllm.Worker.Configuration.Rules;

/// <summary>Asks name resolution first, then the routing table.</summary>
/// <remarks>
/// On hosts with several networks the routing table names the one with the default route, which may not be the one between the
/// workers; <c>VLLM_NIXL_SIDE_CHANNEL_HOST</c> is for those.
/// </remarks>
public sealed class NixlHostProbe : INixlHostProbe
{
    // Public resolvers: any address beyond the default route would do. Connecting a UDP socket only picks a route, nothing is sent.
    private static readonly IPEndPoint BeyondDefaultRoute4 = new(IPAddress.Parse("8.8.8.8"), 80);
    private static readonly IPEndPoint BeyondDefaultRoute6 = new(IPAddress.Parse("2001:4860:4860::8888"), 80);

    public string? FindRoutableAddress() =>
        (FromHostName() ?? FromRoute(BeyondDefaultRoute4) ?? FromRoute(BeyondDefaultRoute6))?.ToString();

    /// <summary>Usable from another host. Private ranges are; they are what clusters have.</summary>
    public static bool IsRoutable(IPAddress address)
    {
        var plain = address.IsIPv4MappedToIPv6 ? address.MapToIPv4() : address;
        if (plain.AddressFamily == AddressFamily.InterNetwork)
        {
            var bytes = plain.GetAddressBytes();
            var isMulticast = bytes[0] is >= 224 and <= 239;
            var isLinkLocal = bytes[0] == 169 && bytes[1] == 254;
            return !IPAddress.IsLoopback(plain) && !plain.Equals(IPAddress.Any) && !isMulticast && !isLinkLocal;
        }

        return !IPAddress.IsLoopback(plain) && !plain.Equals(IPAddress.IPv6Any) && !plain.IsIPv6Multicast && !plain.IsIPv6LinkLocal;
    }

    private static IPAddress? FromHostName()
    {
        try
        {
            return Dns.GetHostAddresses(Dns.GetHostName()).FirstOrDefault(address => IsRoutable(address) && CanBind(address));
        }
        catch (SocketException)
        {
            // The host's own name does not resolve, which is common in containers.
            return null;
        }
    }

    private static bool CanBind(IPAddress address)
    {
        try
        {
            using var socket = new Socket(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
            socket.Bind(new IPEndPoint(address, 0));
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }

    private static IPAddress? FromRoute(IPEndPoint target)
    {
        try
        {
            using var socket = new Socket(target.AddressFamily, SocketType.Dgram, ProtocolType.Udp);
            socket.Connect(target);
            return socket.LocalEndPoint is IPEndPoint { Address: var address } && IsRoutable(address) ? address : null;
        }
        catch (SocketException)
        {
            return null;
        }
    }
}
