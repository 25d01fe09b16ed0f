using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Core.KvEvents;

/// <summary>Carries one rank's forward-pass metrics from the engine to the event plane, for planners; routers ignore them.</summary>
/// <remarks>
/// The scheduler within the engine sends empty topic, sequence and payload; the payload goes on unchanged. While no pass runs it sends one
/// a second. Nothing is kept: what is lost on the way is followed by newer values. kv-and-load.md, 12.
/// </remarks>
internal sealed partial class ForwardPassRelay : IEngineEventSink
{
    private readonly int _rank;
    private readonly EventStream _stream;
    private readonly IForwardPassListener? _listener;
    private readonly ILogger _logger;
    private readonly LogThrottle _connections;
    private readonly LogThrottle _faults;

    public ForwardPassRelay(
        int rank,
        string endpoint,
        EventStream stream,
        IForwardPassListener? listener,
        TimeProvider time,
        ILogger logger
    )
    {
        _rank = rank;
        Endpoint = endpoint;
        _stream = stream;
        _listener = listener;
        _logger = logger;
        _connections = new LogThrottle(time);
        _faults = new LogThrottle(time);
    }

    public string Endpoint { get; }

    public void OnConnected() => LogConnected(_logger, _rank, Endpoint);

    public void OnDisconnected(string problem)
    {
        if (_connections.TryEnter(out var suppressed))
        {
            LogDisconnected(_logger, _rank, Endpoint, problem, suppressed);
        }
    }

    public ValueTask OnMessageAsync(EngineMessage message)
    {
        if (message.Frames == EngineMessage.FramesNeeded)
        {
            _listener?.Observe(_rank, message.Payload.Span);
            return _stream.PublishAsync(message.Payload, CancellationToken.None);
        }

        if (_faults.TryEnter(out var suppressed))
        {
            LogMalformed(_logger, _rank, message.Frames, EngineMessage.FramesNeeded, suppressed);
        }

        return ValueTask.CompletedTask;
    }

    [LoggerMessage(
        EventId = 2440,
        Level = LogLevel.Information,
        Message = "Rank {Rank}: subscribed to the engine's forward-pass metrics at {Endpoint}"
    )]
    private static partial void LogConnected(ILogger logger, int rank, string endpoint);

    [LoggerMessage(
        EventId = 2441,
        Level = LogLevel.Warning,
        Message = "Rank {Rank}: no connection to the engine's forward-pass metrics at {Endpoint}: {Problem}. Trying again; "
            + "{Suppressed} more since the last message"
    )]
    private static partial void LogDisconnected(ILogger logger, int rank, string endpoint, string problem, long suppressed);

    [LoggerMessage(
        EventId = 2442,
        Level = LogLevel.Warning,
        Message = "Rank {Rank}: dropped forward-pass metrics of {Frames} frames, {Needed} are needed. {Suppressed} more since the "
            + "last message"
    )]
    private static partial void LogMalformed(ILogger logger, int rank, int frames, int needed, long suppressed);
}
