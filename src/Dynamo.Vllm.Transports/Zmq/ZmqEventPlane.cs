using System.Net;
using Dynamo.Vllm.Core.KvEvents;
using Dynamo.Vllm.Protocol.KvEvents;
using Dynamo.Vllm.Transports.Tcp;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Transports.Zmq;

/// <summary>The event plane on ZeroMQ sockets: own ports, or brokers.</summary>
public sealed partial class ZmqEventPlane : IEventPlane
{
    private readonly IPAddress _advertised;
    private readonly ZmqBrokerAddresses? _brokers;
    private readonly ConnectionCap _connections;
    private readonly TimeProvider _time;
    private readonly ILogger<ZmqEventPlane> _logger;

    /// <param name="host">DYN_EVENT_PLANE_HOST: address or network interface that routers are told, or null for automatic.</param>
    /// <param name="brokers">Not null: publish through these, with no ports of our own.</param>
    /// <param name="connections">Bounds the subscribers of all topics together, where the ports are ours.</param>
    /// <param name="time">For pauses.</param>
    /// <param name="logger">Of this plane and its publishers.</param>
    /// <exception cref="InvalidOperationException">The host cannot be advertised.</exception>
    public ZmqEventPlane(
        string? host,
        ZmqBrokerAddresses? brokers,
        ConnectionCap connections,
        TimeProvider time,
        ILogger<ZmqEventPlane> logger
    )
    {
        _connections = connections;
        _brokers = brokers;
        _time = time;
        _logger = logger;
        _advertised = Resolve(host);
        if (brokers is null && string.IsNullOrEmpty(host) && IPAddress.IsLoopback(_advertised))
        {
            LogLoopback(_logger, _advertised);
        }
    }

    /// <summary>A subscriber wants a topic; the argument is the key of the topic's records.</summary>
    internal event Action<string>? Subscribed;

    public string Name => _brokers is null ? "zmq" : "zmq-broker";

    public bool BatchesSequences => true;

    public ValueTask<IEventPublisher> OpenAsync(EventTopic topic, CancellationToken cancellationToken)
    {
        if (_brokers is not null)
        {
            return new(new ZmqBrokerPublisher(topic, _brokers.Publish, _time, _logger));
        }

        var publisher = new ZmqBoundPublisher(topic, _advertised, _connections, _time, _logger);
        publisher.Subscribed += () => Subscribed?.Invoke(topic.Key);
        return new(publisher);
    }

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;

    private static IPAddress Resolve(string? host)
    {
        if (string.IsNullOrEmpty(host))
        {
            return NetworkAddresses.Resolve(null).Advertised;
        }

        if (IPAddress.TryParse(host.Trim('[', ']'), out var literal))
        {
            return NetworkAddresses.IsWildcard(literal)
                ? throw new InvalidOperationException($"DYN_EVENT_PLANE_HOST '{host}' is no address that routers can connect to")
                : literal;
        }

        try
        {
            return NetworkAddresses.Resolve(host).Advertised;
        }
        catch (InvalidOperationException exception)
        {
            throw new InvalidOperationException(
                $"DYN_EVENT_PLANE_HOST '{host}' is neither an IP address nor a network interface of this host with one",
                exception
            );
        }
    }

    [LoggerMessage(
        EventId = 3306,
        Level = LogLevel.Warning,
        Message = "No network address was found; events are advertised at {Address}, which only this host can reach (DYN_EVENT_PLANE_HOST)"
    )]
    private static partial void LogLoopback(ILogger logger, IPAddress address);
}
