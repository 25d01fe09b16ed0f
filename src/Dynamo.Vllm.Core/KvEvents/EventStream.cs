using System.Buffers;
using System.Text;
using Dynamo.Vllm.Protocol.KvEvents;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Core.KvEvents;

/// <summary>Numbers and wraps the messages of one topic. One caller at a time.</summary>
internal sealed partial class EventStream : IAsyncDisposable
{
    private readonly IEventPublisher _publisher;
    private readonly byte[] _topicName;
    private readonly Prometheus.ICounter _published;
    private readonly TimeProvider _time;
    private readonly KvRelayMetrics _metrics;
    private readonly ILogger _logger;
    private readonly LogThrottle _failures;
    private readonly ArrayBufferWriter<byte> _envelope = new(1024);
    private ulong _sequence;

    public EventStream(EventTopic topic, IEventPublisher publisher, KvRelayMetrics metrics, TimeProvider time, ILogger logger)
    {
        Topic = topic;
        _publisher = publisher;
        _topicName = Encoding.UTF8.GetBytes(topic.Name);
        _metrics = metrics;
        _published = metrics.Published(topic.Name);
        _time = time;
        _logger = logger;
        _failures = new LogThrottle(time);
    }

    public EventTopic Topic { get; }

    public System.Text.Json.Nodes.JsonObject? Transport => _publisher.Transport;

    public long Dropped => _publisher.Dropped;

    /// <summary>Sends a payload. A transport that fails is logged and counted: routers see the hole and ask.</summary>
    public async ValueTask PublishAsync(ReadOnlyMemory<byte> payload, CancellationToken cancellationToken)
    {
        _envelope.ResetWrittenCount();
        // Taken even for a message that is lost below: loss must show as a hole.
        var sequence = _sequence++;
        EventEnvelope.Write(_envelope, Topic.Publisher, sequence, _time.GetUtcNow().ToUnixTimeMilliseconds(), _topicName, payload.Span);
        try
        {
            await _publisher.PublishAsync(new EventMessage(sequence, _envelope.WrittenMemory), cancellationToken);
            _published.Inc();
        }
        catch (Exception exception) when (exception is not (OutOfMemoryException or OperationCanceledException))
        {
            // Boundary mapping (style E3): whatever a transport throws, the engine's events must go on.
            _metrics.PublishFailed(Topic.Name);
            if (_failures.TryEnter(out var suppressed))
            {
                LogPublishFailed(_logger, Topic.Name, suppressed, exception);
            }
        }
    }

    public ValueTask DisposeAsync() => _publisher.DisposeAsync();

    [LoggerMessage(
        EventId = 2401,
        Level = LogLevel.Warning,
        Message = "Cannot publish on {Topic}; {Suppressed} more failures since the last message"
    )]
    private static partial void LogPublishFailed(ILogger logger, string topic, long suppressed, Exception exception);
}
