using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Transports.Discovery;
using Dynamo.Vllm.Transports.Tcp;
using Dynamo.Vllm.Worker.CommandLine;

namespace Dynamo.Vllm.Worker.Hosting;

/// <summary>The transports that the options name.</summary>
internal static class PlaneFactory
{
    public static IDiscovery CreateDiscovery(RuntimePlanes planes, RuntimeEnvironment environment, TimeProvider time, ILoggerFactory loggers) => planes.Discovery switch
    {
        DiscoveryBackend.File => new FileDiscovery(environment.FileStoreRoot, time, loggers.CreateLogger<FileDiscovery>()),
        DiscoveryBackend.Memory => new MemoryDiscovery(),
        _ => throw new ConfigurationException($"--discovery-backend {planes.Discovery.ToString().ToLowerInvariant()} is not supported yet; use file"),
    };

    public static IRequestPlane CreateRequestPlane(
        RuntimePlanes planes, RuntimeEnvironment environment, RequestDispatcher dispatcher, IConnectionSecurity security, ILoggerFactory loggers)
    {
        if (planes.Response == ResponsePlane.Quic)
        {
            throw new ConfigurationException("--response-plane quic is not supported; use tcp here and on the frontend (DYN_RESPONSE_PLANE=tcp)");
        }

        return planes.Request switch
        {
            RequestPlane.Tcp => new TcpRequestPlane(TcpOptions(environment.Tcp), dispatcher, security, loggers.CreateLogger<TcpRequestPlane>()),
            _ => throw new ConfigurationException("--request-plane nats is not supported yet; use tcp"),
        };
    }

    public static AdmissionLimits Admission(TcpEnvironment tcp) => new(tcp.RequestsMax, tcp.QueueDepthMax);

    private static TcpPlaneOptions TcpOptions(TcpEnvironment tcp)
    {
        var (bind, advertised) = NetworkAddresses.Resolve(tcp.Host);
        return new TcpPlaneOptions { BindAddress = bind, AdvertisedAddress = advertised, Port = tcp.Port, FrameBytesMax = tcp.FrameBytesMax };
    }
}
