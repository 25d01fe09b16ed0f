using System.Net;
using Dynamo.Vllm.Protocol;

namespace Dynamo.Vllm.Transports.Tcp;

/// <summary>Listener of the TCP request plane (runtime.md, 3.2).</summary>
public sealed record TcpPlaneOptions
{
    /// <summary>Address to bind.</summary>
    public IPAddress BindAddress { get; init; } = IPAddress.Loopback;

    /// <summary>Address that callers are told; differs from the bound one only for a wildcard.</summary>
    public IPAddress AdvertisedAddress { get; init; } = IPAddress.Loopback;

    /// <summary>0: the system chooses.</summary>
    public int Port { get; init; }

    /// <summary>Connections that may wait for acceptance.</summary>
    public int Backlog { get; init; } = 4096;

    /// <summary>Bounds the connections that are accepted.</summary>
    public ConnectionCap Connections { get; init; } = ConnectionCap.Unlimited;

    /// <summary>Whole request frame in bytes; a larger one is refused and its connection closed.</summary>
    public int FrameBytesMax { get; init; } = Limits.RequestFrameBytesDefault;
}
