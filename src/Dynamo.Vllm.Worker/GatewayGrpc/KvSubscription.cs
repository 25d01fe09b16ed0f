using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.KvEvents;
using Dynamo.Vllm.Worker.GatewayGrpc.Contract;
using Dynamo.Vllm.Worker.GrpcRequests;
using Grpc.Core;
using LoadOfRank = Dynamo.Vllm.Core.Engines.EngineLoad;

namespace Dynamo.Vllm.Worker.GatewayGrpc;

/// <summary>One caller's stream of the engine's cache events, of all ranks, with the load of each.</summary>
/// <remarks>
/// Every rank has a connection of its own, which is not read while the caller does not read: what the engine then drops shows as a hole,
/// and a hole ends the stream, as the caller's picture of the cache would be wrong for good.
/// </remarks>
internal sealed class KvSubscription : IDisposable
{
    /// <summary>How often the load is looked at.</summary>
    private static readonly TimeSpan LoadInterval = TimeSpan.FromMilliseconds(100);

    /// <summary>The longest that a caller hears nothing of a rank.</summary>
    private static readonly TimeSpan Quiet = TimeSpan.FromSeconds(1);

    /// <summary>The same of a rank whose load has not changed for <see cref="LongIdle"/>.</summary>
    private static readonly TimeSpan IdleQuiet = TimeSpan.FromSeconds(5);

    private static readonly TimeSpan LongIdle = TimeSpan.FromSeconds(30);

    private readonly EngineDescription _engine;
    private readonly LoadBook _loads;
    private readonly IEngineEventFeed _feed;
    private readonly bool _isLoadFirst;
    private readonly Func<KvEventBatch, CancellationToken, Task> _write;
    private readonly TimeProvider _time;
    private readonly TaskCompletionSource<Status> _lost = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Ranks and their load share the stream, which takes one message at a time.</summary>
    private readonly SemaphoreSlim _turn = new(1, 1);

    private ulong _samples;

    /// <param name="engine">Publishes.</param>
    /// <param name="loads">Of its ranks.</param>
    /// <param name="feed">Brings what it publishes.</param>
    /// <param name="isLoadFirst">The caller wants to hear of the load before the first batch of events.</param>
    /// <param name="write">Waits while the caller does not read.</param>
    /// <param name="time">Clock.</param>
    public KvSubscription(
        EngineDescription engine,
        LoadBook loads,
        IEngineEventFeed feed,
        bool isLoadFirst,
        Func<KvEventBatch, CancellationToken, Task> write,
        TimeProvider time
    )
    {
        _engine = engine;
        _loads = loads;
        _feed = feed;
        _isLoadFirst = isLoadFirst;
        _write = write;
        _time = time;
    }

    /// <param name="endpoint">Of the engine's publishers.</param>
    /// <param name="cancellationToken">The caller has left, or the worker leaves; then it returns.</param>
    /// <exception cref="RpcException">Events were lost.</exception>
    public async Task RunAsync(string endpoint, CancellationToken cancellationToken)
    {
        using var over = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var ranks = _loads
            .Latest.Select(load => new RankListener(load.Rank, (rank, batch) => TellAsync(rank, batch, over.Token), Lose))
            .ToList();
        var loops = ranks
            .Select(rank => _feed.RunAsync(EngineEventEndpoint.OfRank(endpoint, rank.Rank), rank, over.Token))
            .Append(TellLoadAsync(ranks, over.Token))
            .ToList();
        var ended = await Task.WhenAny([_lost.Task, .. loops]).ConfigureAwait(false);
        await over.CancelAsync().ConfigureAwait(false);
        await Task.WhenAll(loops).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        if (cancellationToken.IsCancellationRequested)
        {
            return;
        }

        await ended.ConfigureAwait(false); // a loop that ended by itself has a fault to tell of
        throw new RpcException(await _lost.Task.ConfigureAwait(false));
    }

    public void Dispose() => _turn.Dispose();

    private void Lose(StatusCode code, string text) => _lost.TrySetResult(new Status(code, text));

    private async Task TellLoadAsync(List<RankListener> ranks, CancellationToken cancellationToken)
    {
        using var timer = new PeriodicTimer(LoadInterval, _time);
        while (await timer.WaitForNextTickAsync(cancellationToken).ConfigureAwait(false))
        {
            foreach (var rank in ranks)
            {
                await TellAsync(rank, events: null, cancellationToken).ConfigureAwait(false);
            }
        }
    }

    /// <param name="rank">Of whom.</param>
    /// <param name="events">A batch; null for the load alone, where it is due.</param>
    /// <param name="cancellationToken">The subscription is over.</param>
    private async Task TellAsync(RankListener rank, KvEventBatch? events, CancellationToken cancellationToken)
    {
        await _turn.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            var load = _loads.Of(rank.Rank);
            if (!_lost.Task.IsCompleted && (events is not null || IsLoadDue(rank, load)))
            {
                await _write(Complete(rank, events, load), cancellationToken).ConfigureAwait(false);
            }
        }
        catch (Exception exception) when (exception is OperationCanceledException or InvalidOperationException or IOException)
        {
            // Boundary mapping (style E3): so the library says that the call is over.
            Lose(StatusCode.Cancelled, "the caller has left");
        }
        finally
        {
            _turn.Release();
        }
    }

    /// <summary>On change, and every now and then, so that the caller knows that it hears all there is.</summary>
    private bool IsLoadDue(RankListener rank, LoadOfRank load)
    {
        if (rank.ToldSequence is null && !_isLoadFirst)
        {
            return false;
        }

        if (rank.ToldAt is not { } told || load != rank.ToldLoad)
        {
            return true;
        }

        var isIdle = _time.GetElapsedTime(rank.ChangedAt) >= LongIdle;
        return _time.GetElapsedTime(told) >= (isIdle ? IdleQuiet : Quiet);
    }

    /// <summary>What tells of the load alone repeats the number of the last batch.</summary>
    private KvEventBatch Complete(RankListener rank, KvEventBatch? events, LoadOfRank load)
    {
        var batch =
            events
            ?? new KvEventBatch
            {
                SequenceNumber = rank.ToldSequence ?? 0,
                Timestamp = _time.GetUtcNow().ToUnixTimeMilliseconds() / 1000.0,
            };
        rank.Told(events?.SequenceNumber, load, _time.GetTimestamp());
        batch.DpRank = rank.Rank;
        batch.Load = GatewayLoads.Record(_engine, load);
        batch.Load.LoadOnly = events is null;
        batch.Load.Sample = ++_samples;
        return batch;
    }
}
