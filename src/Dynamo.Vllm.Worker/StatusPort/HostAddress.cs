using System.Net;
using System.Net.Sockets;

namespace Dynamo.Vllm.Worker.StatusPort;

/// <summary>The address that a server listens on when it is told a host.</summary>
internal static class HostAddress
{
    /// <param name="host">An IP literal, in brackets or not, or a name.</param>
    /// <returns>The first of its addresses that this host has: a container
    /// may know <c>localhost</c> as <c>::1</c> and have no IPv6.</returns>
    /// <exception cref="IOException">The name leads nowhere, or to other hosts.</exception>
    public static async Task<IPAddress> ResolveAsync(string host, CancellationToken cancellationToken)
    {
        if (IPAddress.TryParse(host.Trim('[', ']'), out var literal))
        {
            return literal;
        }

        try
        {
            var addresses = await Dns.GetHostAddressesAsync(host, cancellationToken).ConfigureAwait(false);
            return Array.Find(addresses, address => WhyNotBound(new IPEndPoint(address, 0)) is null)
                ?? throw new IOException($"none of its addresses ({string.Join(", ", addresses.AsEnumerable())}) is of this host");
        }
        catch (SocketException exception)
        {
            throw new IOException(exception.Message, exception);
        }
    }

    /// <returns>Null if the address can be bound now.</returns>
    public static string? WhyNotBound(IPEndPoint address)
    {
        using var socket = new Socket(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            socket.Bind(address);
            return null;
        }
        catch (SocketException exception)
        {
            return exception.Message;
        }
    }
}
