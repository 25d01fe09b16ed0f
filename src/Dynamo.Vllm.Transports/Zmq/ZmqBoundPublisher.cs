using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.KvEvents;
using Dynamo.Vllm.Protocol.KvEvents;
using Dynamo.Vllm.Transports.Tcp;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Transports.Zmq;

/// <summary>A publisher that listens on a port of its own; routers connect to it.</summary>
internal sealed partial class ZmqBoundPublisher : IEventPublisher
{
    private readonly ZmqFanout _fanout;
    private readonly Socket _listener;
    private readonly string _endpoint;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly CancellationTokenSource _stopping = new();
    private readonly ConnectionCap _connections;
    private readonly Lock _lock = new();
    private readonly HashSet<Task> _serving = [];
    private readonly Task _accepting;

    public ZmqBoundPublisher(EventTopic topic, IPAddress advertised, ConnectionCap connections, TimeProvider time, ILogger logger)
    {
        _fanout = new ZmqFanout(Encoding.UTF8.GetBytes(topic.Name), topic.Publisher);
        _connections = connections;
        _time = time;
        _logger = logger;
        var any = advertised.AddressFamily == AddressFamily.InterNetworkV6 ? IPAddress.IPv6Any : IPAddress.Any;
        _listener = new Socket(any.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        _listener.Bind(new IPEndPoint(any, 0));
        _listener.Listen();
        var port = ((IPEndPoint)_listener.LocalEndPoint!).Port;
        _endpoint = string.Create(CultureInfo.InvariantCulture, $"tcp://{new IPEndPoint(advertised, port)}");
        _fanout.Subscribed += () =>
        {
            LogSubscribed(_logger, topic.Name, _endpoint);
            Subscribed?.Invoke();
        };
        _accepting = Task.Run(() =>
            AcceptLoop.RunAsync(_listener, Accept, problem => LogAcceptFailed(_logger, _endpoint, problem), time, _stopping.Token)
        );
    }

    public JsonObject? Transport =>
        new()
        {
            ["kind"] = "Zmq",
            ["config"] = new JsonObject { ["endpoint"] = _endpoint },
        };

    public long Dropped => _fanout.Dropped;

    /// <summary>Subscribers that are connected.</summary>
    public int SubscriberCount => _fanout.Count;

    /// <summary>A subscriber now wants the topic.</summary>
    public event Action? Subscribed;

    public ValueTask PublishAsync(EventMessage message, CancellationToken cancellationToken)
    {
        _fanout.Publish(in message);
        return ValueTask.CompletedTask;
    }

    public async ValueTask DisposeAsync()
    {
        await _stopping.CancelAsync().ConfigureAwait(false);
        _listener.Dispose();
        await _accepting.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _fanout.AbortAll();
        Task[] serving;
        lock (_lock)
        {
            serving = [.. _serving];
        }

        await Task.WhenAll(serving).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    private void Accept(Socket socket)
    {
        Track(ServeAsync(socket));
    }

    private void Track(Task serving)
    {
        lock (_lock)
        {
            _serving.Add(serving);
        }

        _ = serving.ContinueWith(
            done =>
            {
                lock (_lock)
                {
                    _serving.Remove(done);
                }
            },
            CancellationToken.None,
            TaskContinuationOptions.ExecuteSynchronously,
            TaskScheduler.Default
        );
    }

    private async Task ServeAsync(Socket socket)
    {
        try
        {
            using var owned = socket; // whatever fails before the connection takes it over
            using var seat = _connections.Admit(socket.Dispose);
            ZmqEndpoint.Prepare(socket);
            // A subscriber says nothing for as long as it lives; one that has not even shaken hands makes room for others.
            var problem = await _fanout.ServeAsync(socket, opened: seat.BeginUse, _time, _stopping.Token).ConfigureAwait(false);
            LogSubscriberGone(_logger, _endpoint, problem);
        }
        catch (Exception exception) when (ZmqFaults.EndsConnection(exception))
        {
            LogSubscriberGone(_logger, _endpoint, exception.Message); // port scanners and probes come by, too
        }
    }

    [LoggerMessage(EventId = 3307, Level = LogLevel.Debug, Message = "A subscriber wants {Topic} at {Endpoint}")]
    private static partial void LogSubscribed(ILogger logger, string topic, string endpoint);

    [LoggerMessage(EventId = 3301, Level = LogLevel.Debug, Message = "Event subscriber of {Endpoint} is gone: {Problem}")]
    private static partial void LogSubscriberGone(ILogger logger, string endpoint, string problem);

    [LoggerMessage(EventId = 3302, Level = LogLevel.Warning, Message = "Cannot accept an event subscriber at {Endpoint}: {Problem}")]
    private static partial void LogAcceptFailed(ILogger logger, string endpoint, string problem);
}
