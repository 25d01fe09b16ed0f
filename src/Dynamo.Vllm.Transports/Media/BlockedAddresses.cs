using System.Net;
using System.Net.Sockets;

namespace Dynamo.Vllm.Transports.Media;

/// <summary>Addresses and names that a client must not make this worker ask: the reference's list, and IPv4 inside of IPv6.</summary>
internal static class BlockedAddresses
{
    private static readonly IPNetwork[] Networks =
    [
        IPNetwork.Parse("0.0.0.0/8"),
        IPNetwork.Parse("10.0.0.0/8"),
        IPNetwork.Parse("100.64.0.0/10"),
        IPNetwork.Parse("127.0.0.0/8"),
        IPNetwork.Parse("169.254.0.0/16"),
        IPNetwork.Parse("172.16.0.0/12"),
        IPNetwork.Parse("192.0.0.0/24"),
        IPNetwork.Parse("192.0.2.0/24"),
        IPNetwork.Parse("192.168.0.0/16"),
        IPNetwork.Parse("198.18.0.0/15"),
        IPNetwork.Parse("198.51.100.0/24"),
        IPNetwork.Parse("203.0.113.0/24"),
        IPNetwork.Parse("224.0.0.0/4"),
        IPNetwork.Parse("240.0.0.0/4"),
        IPNetwork.Parse("::/128"),
        IPNetwork.Parse("::1/128"),
        IPNetwork.Parse("fc00::/7"),
        IPNetwork.Parse("fe80::/10"),
        IPNetwork.Parse("ff00::/8"),
    ];

    // A gateway between the two versions of IP takes the packet to the IPv4 address behind the prefix.
    private static readonly IPNetwork Nat64 = IPNetwork.Parse("64:ff9b::/96");

    private static readonly HashSet<string> Names = new(StringComparer.OrdinalIgnoreCase)
    {
        "localhost",
        "localhost.localdomain",
        "ip6-localhost",
        "ip6-loopback",
        "metadata",
        "metadata.google.internal",
        "metadata.goog",
        "kubernetes.default",
        "kubernetes.default.svc",
    };

    public static bool Contains(string host) => Names.Contains(host.TrimEnd('.'));

    public static bool Contains(IPAddress address) =>
        address.IsIPv4MappedToIPv6
        || Networks.Any(network => network.BaseAddress.AddressFamily == address.AddressFamily && network.Contains(address))
        || (address.AddressFamily == AddressFamily.InterNetworkV6 && Nat64.Contains(address) && Contains(Embedded(address)));

    private static IPAddress Embedded(IPAddress address) => new(address.GetAddressBytes().AsSpan(12));
}
