using System.Globalization;
using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Generate;
using Dynamo.Vllm.Core.Metrics;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Protocol.KvEvents;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Core.KvEvents;

/// <summary>Everything that KV-aware routers need of this worker: cache events, recovery, load, first tokens.</summary>
/// <remarks>
/// Start it when the engine is ready, the request plane is up and the store is joined, before the first
/// request can arrive: events of earlier requests are lost. For each rank: 1. open the channel and register
/// it; 2. serve the recovery endpoint; 3. register the source; 4. subscribe. Stop undoes that in reverse. A
/// failure of the relay never fails a request. One caller for start and stop; the rest is thread-safe.
/// </remarks>
public sealed partial class KvRelayService : IAsyncDisposable
{
    private readonly KvRelayOptions _options;
    private readonly IEngine _engine;
    private readonly EndpointId _endpoint;
    private readonly WorkerRegistration _registration;
    private readonly IEventPlane _plane;
    private readonly IEngineEventFeed _feed;
    private readonly RuntimeMetrics _runtimeMetrics;
    private readonly KvRelayMetrics _metrics;
    private readonly TimeProvider _time;
    private readonly ILogger<KvRelayService> _logger;
    private readonly FirstTokenPublisher _firstTokens;
    private readonly SemaphoreSlim _queryTurns = new(KvRelayLimits.DumpsAtOnceMax, KvRelayLimits.DumpsAtOnceMax);
    private readonly RelayRecords _records;
    private readonly RelayLoops _loops;
    private readonly List<EventStream> _streams = [];
    private readonly List<KvRankRelay> _relays = [];
    private readonly List<RankSelfTest> _selfTests = [];
    private readonly List<ServedEndpoint> _queryEndpoints = [];
    private LoadPublisher?[] _loads = [];
    private int _rankStart;
    private bool _isStopped;

    public KvRelayService(
        KvRelayOptions options,
        IEngine engine,
        EndpointId generate,
        WorkerRegistration registration,
        IEventPlane plane,
        IEngineEventFeed feed,
        RuntimeMetrics metrics,
        TimeProvider time,
        ILogger<KvRelayService> logger
    )
    {
        _options = options;
        _engine = engine;
        _endpoint = generate;
        _registration = registration;
        _plane = plane;
        _feed = feed;
        _runtimeMetrics = metrics;
        _metrics = new KvRelayMetrics(metrics, generate);
        _time = time;
        _logger = logger;
        _records = new RelayRecords(registration, logger);
        _loops = new RelayLoops(time, logger);
        _firstTokens = new FirstTokenPublisher(registration, _metrics, time);
    }

    /// <summary>For the generate handler; null where this role sends no first-token events. May be used before the start.</summary>
    public IFirstTokenSink? FirstTokens => _options.PublishesFirstTokens ? _firstTokens : null;

    /// <summary>The recovery endpoints that are served, one per rank. Complete once the start has returned.</summary>
    public IReadOnlyList<ServedEndpoint> QueryEndpoints => _queryEndpoints;

    /// <exception cref="InvalidOperationException">The event plane or the
    /// store cannot be used. Stop cleans up what was started.</exception>
    public async Task StartAsync(CancellationToken cancellationToken)
    {
        var description = _engine.Description;
        _rankStart = description.DataParallelStart;
        var ranks = Math.Max(1, description.DataParallelSize);
        _loads = new LoadPublisher?[ranks];
        if (_options.RelaysKvEvents && description.KvEventsEndpoint is { } endpoint)
        {
            for (var rank = _rankStart; rank < _rankStart + ranks; rank++)
            {
                await StartRankAsync(rank, endpoint, description, cancellationToken);
            }
        }

        for (var i = 0; _options.PublishesLoad && i < ranks; i++)
        {
            await StartLoadAsync(i, description.BlocksPerRank, cancellationToken);
        }

        if (_options.ForwardPassPort is { } port)
        {
            for (var rank = _rankStart; rank < _rankStart + ranks; rank++)
            {
                await StartForwardPassAsync(rank, port, cancellationToken);
            }
        }

        if (_options.PublishesFirstTokens)
        {
            var stream = await OpenAsync(EventTopics.ActiveSequences, cancellationToken);
            _loops.Run("first tokens", token => _firstTokens.RunAsync(stream, _plane.BatchesSequences, token));
        }

        _engine.LoadChanged += OnLoadChanged;
        _loops.Run("self-test", new RelayWatch(_selfTests, _streams, _metrics, _time, _logger).RunAsync);
        LogStarted(
            _logger,
            _relays.Count == 0 ? "nothing" : string.Join(", ", _relays.Select(relay => relay.Endpoint)),
            string.Join(", ", _streams.Select(stream => stream.Topic.Name).Distinct()),
            _plane.Name,
            ranks
        );
        await WaitForEngineAsync(cancellationToken);
    }

    /// <summary>Withdraws every record, then ends the loops and closes the
    /// sockets. Goes on after a failure; may be called more than once.</summary>
    public async Task StopAsync(CancellationToken cancellationToken)
    {
        if (_isStopped)
        {
            return;
        }

        _isStopped = true;
        _engine.LoadChanged -= OnLoadChanged;
        await _records.WithdrawAsync(cancellationToken);
        await _loops.StopAsync();
        foreach (var stream in _streams)
        {
            await stream.DisposeAsync();
        }
    }

    public async ValueTask DisposeAsync()
    {
        await StopAsync(CancellationToken.None);
        _loops.Dispose();
        _queryTurns.Dispose();
    }

    private async Task StartRankAsync(int rank, string engineEndpoint, EngineDescription description, CancellationToken cancellationToken)
    {
        var conversion = new KvEventConversion(description.KvEventBlockSize, _options.ImageToken, _options.VideoToken);
        var stream = await OpenAsync(EventTopics.KvEvents, cancellationToken);
        var blocksMax = (int)Math.Clamp(description.BlocksPerRank * 8, KvRelayLimits.IndexBlocksMin, int.MaxValue);
        var metrics = _metrics.ForRank(rank);
        var log = new RankEventLog(rank, blocksMax);
        var recovery = await ServeQueriesAsync(rank, log, metrics, stream.Topic.Publisher, cancellationToken);
        await _records.PutAsync(
            $"kv-source-{stream.Topic.Publisher.Hex}",
            instance => EventRecords.Source(stream.Topic, instance, rank, recovery is null ? null : _registration.EndpointValue(recovery)),
            cancellationToken
        );
        var relay = new KvRankRelay(
            rank,
            EngineEventEndpoint.OfRank(engineEndpoint, rank),
            conversion,
            log,
            _registration,
            stream,
            metrics,
            _time,
            _logger
        );
        _relays.Add(relay);
        _selfTests.Add(new RankSelfTest(relay, _time));
        _loops.Run($"relay of rank {rank.ToString(CultureInfo.InvariantCulture)}", token => _feed.RunAsync(relay.Endpoint, relay, token));
    }

    /// <summary>Null when the endpoint cannot be served: routers then use the live events alone, as with the reference.</summary>
    private async Task<ServedEndpoint?> ServeQueriesAsync(
        int rank,
        RankEventLog log,
        KvRelayMetrics.RankMetrics metrics,
        PublisherId publisher,
        CancellationToken cancellationToken
    )
    {
        var id = _endpoint with { Name = KvQueryHandler.EndpointName(publisher) };
        var handler = new KvQueryHandler(rank, log, _registration, metrics, _queryTurns, _logger);
        var endpoint = new ServedEndpoint(id, handler, _runtimeMetrics.ForEndpoint(id, ""));
        try
        {
            await _records.ServeAsync(endpoint, cancellationToken);
            _queryEndpoints.Add(endpoint);
            return endpoint;
        }
        catch (Exception exception) when (exception is not (OutOfMemoryException or OperationCanceledException))
        {
            // Boundary mapping (style E3): recovery is an aid; without it the worker still serves.
            LogNoRecovery(_logger, rank, exception);
            return null;
        }
    }

    private async Task StartLoadAsync(int index, long blocks, CancellationToken cancellationToken)
    {
        var stream = await OpenAsync(EventTopics.KvMetrics, cancellationToken);
        var load = new LoadPublisher(_rankStart + index, blocks, _registration, stream, _time);
        _loads[index] = load;
        _loops.Run("load", load.RunAsync);
    }

    private async Task StartForwardPassAsync(int rank, int port, CancellationToken cancellationToken)
    {
        var stream = await OpenAsync(EventTopics.ForwardPassMetrics, cancellationToken);
        var relay = new ForwardPassRelay(
            rank,
            string.Create(CultureInfo.InvariantCulture, $"tcp://127.0.0.1:{port + rank}"),
            stream,
            _options.ForwardPassListener,
            _time,
            _logger
        );
        _loops.Run(
            $"forward-pass metrics of rank {rank.ToString(CultureInfo.InvariantCulture)}",
            token => _feed.RunAsync(relay.Endpoint, relay, token)
        );
    }

    /// <summary>Opens a publisher and registers its channel.</summary>
    private async Task<EventStream> OpenAsync(string name, CancellationToken cancellationToken)
    {
        var topic = new EventTopic(_endpoint, name, PublisherId.FromRandom(_options.NextRandom()));
        var publisher = await _plane.OpenAsync(topic, cancellationToken);
        var stream = new EventStream(topic, publisher, _metrics, _time, _logger);
        _streams.Add(stream);
        if (publisher.Transport is not null)
        {
            await _records.PutAsync(
                $"kv-channel-{topic.Publisher.Hex}",
                _ => EventRecords.Channel(topic, publisher.Transport!),
                cancellationToken
            );
        }

        return stream;
    }

    private async Task WaitForEngineAsync(CancellationToken cancellationToken)
    {
        foreach (var relay in _relays)
        {
            try
            {
                await relay.Connected.WaitAsync(_options.ConnectTimeout, _time, cancellationToken);
            }
            catch (TimeoutException)
            {
                LogNotConnected(_logger, relay.Rank, relay.Endpoint, _options.ConnectTimeout.TotalSeconds);
            }
        }
    }

    /// <summary>On the engine's delivery loop: leaves the value and goes.</summary>
    private void OnLoadChanged(EngineLoad load)
    {
        // vLLM gives the global rank where it manages several; an engine that counts from 0 is understood, too.
        var index = load.Rank >= _rankStart && load.Rank < _rankStart + _loads.Length ? load.Rank - _rankStart : load.Rank;
        if (index < 0 || index >= _loads.Length)
        {
            return;
        }

        _loads[index]?.Observe(load.KvCacheUsage);
        if (index < _selfTests.Count)
        {
            _selfTests[index].Observe(load, _engine.Description.BlocksPerRank);
        }
    }

    [LoggerMessage(
        EventId = 2430,
        Level = LogLevel.Information,
        Message = "KV routing: subscribing to {Subscribed}; publishing {Topics} on {Plane} for {Ranks} ranks"
    )]
    private static partial void LogStarted(ILogger logger, string subscribed, string topics, string plane, int ranks);

    [LoggerMessage(
        EventId = 2431,
        Level = LogLevel.Warning,
        Message = "Rank {Rank}: still not connected to the engine's KV events at {Endpoint} after {Seconds} s; requests are served, "
            + "but routers do not see this cache"
    )]
    private static partial void LogNotConnected(ILogger logger, int rank, string endpoint, double seconds);

    [LoggerMessage(
        EventId = 2432,
        Level = LogLevel.Warning,
        Message = "Rank {Rank}: the recovery endpoint cannot be served; routers lose this cache at each message they miss"
    )]
    private static partial void LogNoRecovery(ILogger logger, int rank, Exception exception);
}
