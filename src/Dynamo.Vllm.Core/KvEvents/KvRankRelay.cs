using System.Buffers.Binary;
using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.KvEvents;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Core.KvEvents;

/// <summary>Carries one rank's cache events from the engine to the event plane.</summary>
/// <remarks>
/// For each message: 1. frames and sequence; 2. decode; 3. convert; 4. ids, index, ring; 5. publish. All on
/// the feed's loop, which reads nothing more meanwhile: the socket is the queue, and a hole in the engine's
/// sequence shows what it lost. Hot path: without media nothing is allocated once buffers have grown.
/// </remarks>
internal sealed partial class KvRankRelay : IEngineEventSink, IAsyncDisposable
{
    private readonly int _rank;
    private readonly string _endpoint;
    private readonly WorkerRegistration _registration;
    private readonly EventStream _stream;
    private readonly KvRelayMetrics.RankMetrics _metrics;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly EngineEventBatch _batch = new();
    private readonly KvEventConverter _converter;
    private readonly RouterEventList _events = new();
    private readonly OutgoingEvents _outgoing = new();
    private readonly LogThrottle _faults;
    private readonly LogThrottle _gaps;
    private readonly LogThrottle _connections;

    // Continuations run the start of the worker, which must not happen on the feed's loop.
    private readonly TaskCompletionSource _connected = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private ulong _nextBatch;
    private long _batches;

    public KvRankRelay(
        int rank,
        string endpoint,
        KvEventConversion conversion,
        RankEventLog log,
        WorkerRegistration registration,
        EventStream stream,
        KvRelayMetrics.RankMetrics metrics,
        TimeProvider time,
        ILogger logger
    )
    {
        _rank = rank;
        _endpoint = endpoint;
        Log = log;
        _registration = registration;
        _stream = stream;
        _metrics = metrics;
        _time = time;
        _logger = logger;
        _converter = new KvEventConverter(conversion);
        _faults = new LogThrottle(time);
        _gaps = new LogThrottle(time);
        _connections = new LogThrottle(time);
    }

    public int Rank => _rank;

    public string Endpoint => _endpoint;

    public RankEventLog Log { get; }

    public EventStream Stream => _stream;

    /// <summary>Completes with the first connection.</summary>
    public Task Connected => _connected.Task;

    /// <summary>Batches that arrived, of any kind. Any thread.</summary>
    public long Batches => Volatile.Read(ref _batches);

    public KvRelayMetrics.RankMetrics Metrics => _metrics;

    public void OnConnected()
    {
        _metrics.Connected.Set(1);
        LogConnected(_logger, _rank, _endpoint);
        _connected.TrySetResult();
    }

    public void OnDisconnected(string problem)
    {
        _metrics.Connected.Set(0);
        if (_connections.TryEnter(out var suppressed))
        {
            LogDisconnected(_logger, _rank, _endpoint, problem, suppressed);
        }
    }

    public ValueTask OnMessageAsync(EngineMessage message)
    {
        Volatile.Write(ref _batches, _batches + 1);
        _outgoing.Clear();
        try
        {
            Relay(message);
        }
        catch (ProtocolException exception)
        {
            // One bad batch must not end the relay. The hole in the index heals as blocks are stored and removed again.
            _metrics.Malformed.Inc();
            if (_faults.TryEnter(out var suppressed))
            {
                LogMalformed(_logger, _rank, exception.Message, suppressed);
            }
        }

        return _outgoing.MessageCount == 0 ? ValueTask.CompletedTask : PublishAsync();
    }

    public ValueTask DisposeAsync() => _stream.DisposeAsync();

    private void Relay(EngineMessage message)
    {
        if (message.Frames != EngineMessage.FramesNeeded || message.Sequence.Length != sizeof(ulong))
        {
            throw new ProtocolException(
                $"engine message has {message.Frames} frames and a sequence of {message.Sequence.Length} bytes; 3 and 8 are needed"
            );
        }

        var payload = message.Payload.Span;
        if (IsRestart(BinaryPrimitives.ReadUInt64BigEndian(message.Sequence.Span)))
        {
            ClearAll();
        }

        _batch.Decode(payload);
        if (_batch.Rank != (uint)_rank)
        {
            _metrics.OtherRank.Inc();
            throw new ProtocolException($"batch is of rank {_batch.Rank}, this relay carries rank {_rank}");
        }

        _converter.Convert(_batch, payload, _events);
        CountEvents();
        if (!Log.Append(_registration.Instance, _events, payload, _outgoing))
        {
            LogIndexFull(_logger, _rank, Log.BlockCount);
            ClearAll();
        }
    }

    /// <summary>Looks for holes. True: the engine began again from the start, so nothing that it stored before is there any more.</summary>
    private bool IsRestart(ulong sequence)
    {
        var expected = _nextBatch;
        _nextBatch = sequence + 1;
        if (sequence == expected)
        {
            return false;
        }

        if (sequence < expected)
        {
            LogRestarted(_logger, _rank, expected, sequence);
            return true;
        }

        _metrics.Gaps.Inc();
        _metrics.Missed(sequence - expected);
        if (_gaps.TryEnter(out var suppressed))
        {
            LogGap(_logger, _rank, expected, sequence - 1, suppressed);
        }

        return false;
    }

    /// <summary>Tells routers that the rank holds nothing, and forgets everything itself, in one step.</summary>
    private void ClearAll()
    {
        _converter.ForgetBlocks();
        _events.SetCleared();
        Log.Append(_registration.Instance, _events, default, _outgoing);
    }

    private void CountEvents()
    {
        for (var kind = EngineEventKind.Stored; kind <= EngineEventKind.Ignored; kind++)
        {
            _metrics.Received(kind, _converter.ReceivedLast(kind));
            _metrics.Accepted(kind, _converter.AcceptedLast(kind));
        }

        _metrics.ObserveDrops(_converter);
        var stored = 0;
        var removed = 0;
        foreach (ref readonly var entry in _events.Events)
        {
            stored += entry.Kind == RouterEventKind.Stored ? entry.BlockCount : 0;
            removed += entry.Kind == RouterEventKind.Removed ? entry.BlockCount : 0;
        }

        _metrics.StoredBlocks.Inc(stored);
        _metrics.RemovedBlocks.Inc(removed);
        (_events.Events.IsEmpty ? _metrics.Empty : _metrics.Relayed).Inc();
    }

    private async ValueTask PublishAsync()
    {
        for (var i = 0; i < _outgoing.MessageCount; i++)
        {
            await _stream.PublishAsync(_outgoing.Payload(i), CancellationToken.None);
        }

        // Wall clocks of two processes of one host: the only pair there is for this question (against style M2).
        var now = _time.GetUtcNow().ToUnixTimeMilliseconds() / 1000.0;
        _metrics.Lag.Observe(Math.Max(0, now - _batch.Timestamp));
    }

    [LoggerMessage(
        EventId = 2410,
        Level = LogLevel.Information,
        Message = "Rank {Rank}: subscribed to the engine's KV events at {Endpoint}"
    )]
    private static partial void LogConnected(ILogger logger, int rank, string endpoint);

    [LoggerMessage(
        EventId = 2411,
        Level = LogLevel.Warning,
        Message = "Rank {Rank}: no connection to the engine's KV events at {Endpoint}: {Problem}. Trying again; {Suppressed} more "
            + "since the last message"
    )]
    private static partial void LogDisconnected(ILogger logger, int rank, string endpoint, string problem, long suppressed);

    [LoggerMessage(
        EventId = 2412,
        Level = LogLevel.Warning,
        Message = "Rank {Rank}: dropped a batch of the engine's KV events: {Problem}. {Suppressed} more since the last message"
    )]
    private static partial void LogMalformed(ILogger logger, int rank, string problem, long suppressed);

    [LoggerMessage(
        EventId = 2413,
        Level = LogLevel.Warning,
        Message = "Rank {Rank}: the engine's KV event batches {First} to {Last} were lost; routers may send requests for blocks that "
            + "are gone. {Suppressed} more gaps since the last message"
    )]
    private static partial void LogGap(ILogger logger, int rank, ulong first, ulong last, long suppressed);

    [LoggerMessage(
        EventId = 2414,
        Level = LogLevel.Warning,
        Message = "Rank {Rank}: the engine numbers its KV event batches from the start again (expected {Expected}, got {Sequence}); "
            + "all its blocks are cleared"
    )]
    private static partial void LogRestarted(ILogger logger, int rank, ulong expected, ulong sequence);

    [LoggerMessage(
        EventId = 2415,
        Level = LogLevel.Warning,
        Message = "Rank {Rank}: {Blocks} blocks are more than the engine can hold; removals were lost, and all its blocks are cleared"
    )]
    private static partial void LogIndexFull(ILogger logger, int rank, int blocks);
}
