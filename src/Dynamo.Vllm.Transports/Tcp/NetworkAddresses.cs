using System.Net;
using System.Net.NetworkInformation;
using System.Net.Sockets;

namespace Dynamo.Vllm.Transports.Tcp;

/// <summary>Which address to bind and which to tell others (runtime.md, 3.2).</summary>
public static class NetworkAddresses
{
    /// <param name="host">An IP literal, a wildcard, an interface name, or null for automatic.</param>
    /// <returns>Address to bind, and a concrete one to advertise.</returns>
    public static (IPAddress Bind, IPAddress Advertised) Resolve(string? host)
    {
        if (string.IsNullOrEmpty(host))
        {
            var address = Automatic(AddressFamily.Unspecified);
            return (address, address);
        }

        if (IPAddress.TryParse(host.Trim('[', ']'), out var literal))
        {
            return IsWildcard(literal) ? (literal, Automatic(literal.AddressFamily)) : (literal, literal);
        }

        var network =
            NetworkInterface.GetAllNetworkInterfaces().FirstOrDefault(network => network.Name == host)
            ?? throw new InvalidOperationException(
                $"'{host}' is neither an IP address nor a network interface of this host (DYN_TCP_RPC_HOST)"
            );
        var chosen =
            Usable(network).FirstOrDefault()
            ?? throw new InvalidOperationException($"network interface '{host}' has no address (DYN_TCP_RPC_HOST)");
        return (chosen, chosen);
    }

    /// <summary>Every address of this host: good to bind, and nothing to connect to.</summary>
    public static bool IsWildcard(IPAddress address) => address.Equals(IPAddress.Any) || address.Equals(IPAddress.IPv6Any);

    /// <summary>A concrete address that others can use: of the default route, else the first that is no loopback, else loopback.</summary>
    public static IPAddress Automatic(AddressFamily family)
    {
        var networks = NetworkInterface
            .GetAllNetworkInterfaces()
            .Where(network => network.OperationalStatus == OperationalStatus.Up)
            .ToList();
        var byRoute = networks.OrderByDescending(HasDefaultRoute);
        var addresses = byRoute.SelectMany(Usable).Where(address => !IPAddress.IsLoopback(address)).ToList();
        IPAddress? First(AddressFamily wanted) => addresses.Find(address => address.AddressFamily == wanted);
        return family switch
        {
            AddressFamily.InterNetwork => First(AddressFamily.InterNetwork) ?? IPAddress.Loopback,
            AddressFamily.InterNetworkV6 => First(AddressFamily.InterNetworkV6) ?? IPAddress.IPv6Loopback,
            _ => First(AddressFamily.InterNetwork) ?? First(AddressFamily.InterNetworkV6) ?? IPAddress.Loopback,
        };
    }

    private static bool HasDefaultRoute(NetworkInterface network) =>
        network.NetworkInterfaceType != NetworkInterfaceType.Loopback && network.GetIPProperties().GatewayAddresses.Count > 0;

    private static IEnumerable<IPAddress> Usable(NetworkInterface network) =>
        network.GetIPProperties().UnicastAddresses.Select(unicast => unicast.Address).Where(address => !address.IsIPv6LinkLocal);
}
