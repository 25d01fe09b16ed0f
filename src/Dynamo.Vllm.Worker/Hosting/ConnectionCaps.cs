using Dynamo.Vllm.Python.Platform;
using Dynamo.Vllm.Transports;

namespace Dynamo.Vllm.Worker.Hosting;

/// <summary>How the descriptors of this process are shared out between those who connect to it.</summary>
/// <param name="Requests">Of the TCP request plane.</param>
/// <param name="Status">Of the status server and of gRPC.</param>
/// <param name="Events">Of all ZMQ publishers: routers hold a place as long as they like, who never says what he wants does not.</param>
internal sealed record ConnectionCaps(ConnectionCap Requests, ConnectionCap Status, ConnectionCap Events)
{
    /// <summary>For the process itself: libraries, Python, the engine's sockets, the planes. An idle worker has some 200 open.</summary>
    private const long Own = 320;

    private const int RequestsMax = 16_384;
    private const int StatusMax = 1_024;
    private const int EventsMax = 4_096;

    /// <summary>For uses that listen nowhere.</summary>
    public static ConnectionCaps Unlimited => new(ConnectionCap.Unlimited, ConnectionCap.Unlimited, ConnectionCap.Unlimited);

    /// <summary>Half of what is left for callers, an eighth for probes and scrapes,
    /// one for routers; the rest for the connections that carry answers.</summary>
    /// <param name="descriptors">At least <see cref="DescriptorLimit.Min"/>.</param>
    /// <param name="time">For the pace of log lines.</param>
    /// <param name="logger">Told at the bounds.</param>
    public static ConnectionCaps For(long descriptors, TimeProvider time, ILogger logger)
    {
        var left = descriptors - Own;
        return new ConnectionCaps(
            new ConnectionCap("TCP request plane", (int)Math.Min(left / 2, RequestsMax), time, logger),
            new ConnectionCap("status server", (int)Math.Min(left / 8, StatusMax), time, logger),
            new ConnectionCap("ZMQ event plane", (int)Math.Min(left / 8, EventsMax), time, logger)
        );
    }
}
