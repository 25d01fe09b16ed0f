using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.KvEvents;
using Dynamo.Vllm.Protocol.KvEvents;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Transports.Zmq;

/// <summary>A publisher that connects to every broker; routers connect to the brokers' other side.</summary>
/// <remarks>With several brokers each message is sent to all; subscribers drop what they have already (kv-and-load.md, 5.4).</remarks>
internal sealed partial class ZmqBrokerPublisher : IEventPublisher
{
    private static readonly TimeSpan PauseMin = TimeSpan.FromMilliseconds(100);

    private static readonly TimeSpan PauseMax = TimeSpan.FromSeconds(5);

    private readonly ZmqFanout _fanout;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly CancellationTokenSource _stopping = new();
    private readonly Task _links;

    public ZmqBrokerPublisher(EventTopic topic, IReadOnlyList<string> brokers, TimeProvider time, ILogger logger)
    {
        _fanout = new ZmqFanout(Encoding.UTF8.GetBytes(topic.Subject), topic.Publisher);
        _fanout.Subscribed += () => Subscribed?.Invoke();
        _time = time;
        _logger = logger;
        _links = Task.WhenAll(brokers.Select(broker => Task.Run(() => LinkAsync(broker))));
    }

    public JsonObject? Transport => null;

    public long Dropped => _fanout.Dropped;

    /// <summary>A broker now wants the topic: somebody behind it subscribed.</summary>
    public event Action? Subscribed;

    public ValueTask PublishAsync(EventMessage message, CancellationToken cancellationToken)
    {
        _fanout.Publish(in message);
        return ValueTask.CompletedTask;
    }

    public async ValueTask DisposeAsync()
    {
        await _stopping.CancelAsync().ConfigureAwait(false);
        _fanout.AbortAll();
        await _links.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    private async Task LinkAsync(string broker)
    {
        var pause = PauseMin;

        void OnConnected()
        {
            LogConnected(_logger, broker);
            pause = PauseMin;
        }

        while (!_stopping.IsCancellationRequested)
        {
            string problem;
            try
            {
                using var socket = await ZmqEndpoint.ConnectAsync(broker, _stopping.Token).ConfigureAwait(false);
                problem = await _fanout.ServeAsync(socket, OnConnected, _time, _stopping.Token).ConfigureAwait(false);
            }
            catch (Exception exception) when (ZmqFaults.EndsConnection(exception))
            {
                problem = exception.Message;
            }

            if (_stopping.IsCancellationRequested)
            {
                return;
            }

            LogDisconnected(_logger, broker, problem);
            await Task.Delay(pause, _time, _stopping.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            pause = pause * 2 < PauseMax ? pause * 2 : PauseMax;
        }
    }

    [LoggerMessage(EventId = 3304, Level = LogLevel.Information, Message = "Connected to the event broker {Broker}")]
    private static partial void LogConnected(ILogger logger, string broker);

    [LoggerMessage(
        EventId = 3305,
        Level = LogLevel.Warning,
        Message = "No connection to the event broker {Broker}: {Problem}. Events are lost until it is back"
    )]
    private static partial void LogDisconnected(ILogger logger, string broker, string problem);
}
