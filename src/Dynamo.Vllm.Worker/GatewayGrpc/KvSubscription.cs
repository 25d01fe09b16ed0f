using Dynamo.Vllm.Core.KvEvents;
using Dynamo.Vllm.Worker.GatewayGrpc.Contract;
using Dynamo.Vllm.Worker.GrpcRequests;
using Grpc.Core;

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

    private readonly GrpcServing _serving;
    private readonly bool _isLoadFirst;
    private readonly Func<KvEventBatch, Task> _write;
    private readonly TimeProvider _time;
    private readonly TaskCompletionSource<Status> _lost = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Ranks and their load share the stream, which takes one message at a time.</summary>
    private readonly SemaphoreSlim _turn = new(1, 1);

    private ulong _samples;

    /// <param name="serving">The worker.</param>
    /// <param name="isLoadFirst">The caller wants to hear of the load before the first batch of events.</param>
    /// <param name="write">Waits while the caller does not read.</param>
    /// <param name="time">Clock.</param>
    public KvSubscription(GrpcServing serving, bool isLoadFirst, Func<KvEventBatch, Task> write, TimeProvider time)
    {
        _serving = serving;
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
        var ranks = _serving.Loads.Latest.Select(load => new RankListener(load.Rank, TellAsync, Lose)).ToList();
        var loops = ranks
            .Select(rank => _serving.Events.RunAsync(EngineEventEndpoint.OfRank(endpoint, rank.Rank), rank, over.Token))
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

    /// <summary>On change, and every now and then, so that the caller knows that it hears all there is.</summary>
    private async Task TellLoadAsync(List<RankListener> ranks, CancellationToken cancellationToken)
    {
        using var timer = new PeriodicTimer(LoadInterval, _time);
        while (await timer.WaitForNextTickAsync(cancellationToken).ConfigureAwait(false))
        {
            foreach (var rank in ranks)
            {
                if (IsLoadDue(rank))
                {
                    await TellAsync(
                            rank,
                            new KvEventBatch
                            {
                                SequenceNumber = rank.LastSequence ?? 0,
                                Load = new EngineLoad { LoadOnly = true },
                            }
                        )
                        .ConfigureAwait(false);
                }
            }
        }
    }

    private bool IsLoadDue(RankListener rank)
    {
        if (rank.LastSequence is null && !_isLoadFirst)
        {
            return false;
        }

        if (rank.ToldAt is not { } told || _serving.Loads.Of(rank.Rank) != rank.ToldLoad)
        {
            return true;
        }

        var isIdle = _time.GetElapsedTime(rank.ChangedAt) >= LongIdle;
        return _time.GetElapsedTime(told) >= (isIdle ? IdleQuiet : Quiet);
    }

    /// <summary>Adds what the load is now.</summary>
    private async Task TellAsync(RankListener rank, KvEventBatch batch)
    {
        await _turn.WaitAsync().ConfigureAwait(false);
        try
        {
            if (_lost.Task.IsCompleted)
            {
                return;
            }

            var load = _serving.Loads.Of(rank.Rank);
            rank.Told(load, _time.GetTimestamp());
            var isLoadOnly = batch.Load is { LoadOnly: true };
            batch.Load = GatewayLoads.Record(_serving, load);
            batch.Load.LoadOnly = isLoadOnly;
            batch.Load.Sample = ++_samples;
            batch.DpRank = rank.Rank;
            batch.Timestamp = isLoadOnly ? _time.GetUtcNow().ToUnixTimeMilliseconds() / 1000.0 : batch.Timestamp;
            await _write(batch).ConfigureAwait(false);
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
}
