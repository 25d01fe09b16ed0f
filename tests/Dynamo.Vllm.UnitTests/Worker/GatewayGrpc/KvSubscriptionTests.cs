using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Relay;
using Dynamo.Vllm.UnitTests.Worker.GrpcRequests;
using Dynamo.Vllm.Worker.GatewayGrpc;
using Dynamo.Vllm.Worker.GatewayGrpc.Contract;
using Dynamo.Vllm.Worker.GrpcRequests;
using Grpc.Core;
using Microsoft.Extensions.Time.Testing;
using LoadOfRank = Dynamo.Vllm.Core.Engines.EngineLoad;

namespace Dynamo.Vllm.UnitTests.Worker.GatewayGrpc;

public sealed class KvSubscriptionTests : IDisposable
{
    private const string Endpoint = "tcp://*:5557";

    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    private static readonly byte[] Payload = Golden.Bytes("kv/vllm-00-p1_store2.payload.bin");

    private readonly FakeTimeProvider _time = new(DateTimeOffset.UnixEpoch);
    private readonly EngineEventFeedFake _feed = new();
    private readonly EngineFake _engine = new(EngineSample.TwoRanks with { NumGpuBlocks = 22 });
    private readonly LoadBook _loads;
    private readonly List<KvEventBatch> _told = [];
    private readonly CancellationTokenSource _over = new();

    public KvSubscriptionTests() => _loads = new LoadBook(_engine);

    public void Dispose()
    {
        _loads.Dispose();
        _over.Dispose();
    }

    [Fact]
    public async Task Each_rank_has_its_own_numbers_and_load()
    {
        using var subscription = Subscription(isLoadFirst: true);
        var run = subscription.RunAsync(Endpoint, _over.Token);
        await _feed.SubscribedAsync();
        await _feed.SubscribedAsync();
        _engine.Report(new LoadOfRank(3, KvCacheUsage: 0.5, Running: 4, Waiting: 1));
        await _feed.SendAsync("tcp://127.0.0.1:5559", 70, Payload);
        await _feed.SendAsync("tcp://127.0.0.1:5560", 5, Payload);
        await _feed.SendAsync("tcp://127.0.0.1:5559", 71, Payload);
        Assert.Equal([(2, 70ul), (3, 5ul), (2, 71ul)], _told.Select(batch => (batch.DpRank, batch.SequenceNumber)));
        Assert.Equal([1ul, 2ul, 3ul], _told.Select(batch => batch.Load.Sample));
        Assert.All(_told, batch => Assert.False(batch.Load.LoadOnly));
        var load = _told[1].Load;
        // 11 blocks a rank, of which one is never used.
        Assert.Equal((4u, 1u, 0.5, 8u), (load.RunningRequests, load.WaitingRequests, load.TokenUsage, load.MaxRunningRequests));
        Assert.Equal((5 * 16, 11 * 16), (load.NumUsedTokens, load.MaxTotalNumTokens));
        Assert.Equal((0u, 0), (_told[0].Load.RunningRequests, _told[0].Load.NumUsedTokens));
        await _over.CancelAsync();
        await run.WaitAsync(Limit);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task The_load_comes_first_only_to_those_who_asked_for_it(bool isLoadFirst)
    {
        using var subscription = Subscription(isLoadFirst);
        var run = subscription.RunAsync(Endpoint, _over.Token);
        await _feed.SubscribedAsync();
        await _feed.SubscribedAsync();
        await AdvanceAsync(TimeSpan.FromSeconds(1));
        Assert.Equal(isLoadFirst, Told().Count > 0);
        await _feed.SendAsync("tcp://127.0.0.1:5559", 7, Payload);
        await PassAsync(() => Told().Count(batch => batch is { DpRank: 2, Load.LoadOnly: true, SequenceNumber: 7 }) >= 2);
        Assert.Equal(isLoadFirst, Told().Any(batch => batch.DpRank == 3));
        await _over.CancelAsync();
        await run.WaitAsync(Limit);
    }

    [Fact]
    public async Task An_idle_rank_is_heard_of_each_second_and_later_each_fifth_and_a_change_at_once()
    {
        using var subscription = Subscription(isLoadFirst: true);
        var run = subscription.RunAsync(Endpoint, _over.Token);
        await PassAsync(() => Times().Count >= 34);
        var gaps = Times().Zip(Times()[1..], (before, after) => after - before).ToList();
        Assert.All(gaps, gap => Assert.InRange(gap, 0.99, double.MaxValue));
        Assert.All(gaps[^2..], gap => Assert.InRange(gap, 4.99, double.MaxValue));
        var before = Times().Count;
        _engine.Report(new LoadOfRank(2, KvCacheUsage: 0, Running: 1, Waiting: 0));
        await PassAsync(() => Times().Count > before);
        Assert.Equal(1u, Told().Last(batch => batch.DpRank == 2).Load.RunningRequests);
        await _over.CancelAsync();
        await run.WaitAsync(Limit);

        List<double> Times() => [.. Told().Where(batch => batch.DpRank == 2).Select(batch => batch.Timestamp)];
    }

    [Fact]
    public async Task A_hole_in_one_rank_ends_it()
    {
        using var subscription = Subscription(isLoadFirst: false);
        var run = subscription.RunAsync(Endpoint, _over.Token);
        await _feed.SubscribedAsync();
        await _feed.SubscribedAsync();
        await _feed.SendAsync("tcp://127.0.0.1:5560", 1, Payload);
        await _feed.SendAsync("tcp://127.0.0.1:5560", 3, Payload);
        var end = await Assert.ThrowsAsync<RpcException>(() => run.WaitAsync(Limit));
        Assert.Equal(StatusCode.DataLoss, end.StatusCode);
        Assert.Contains("rank 3: batches 2 to 2 were lost", end.Status.Detail, StringComparison.Ordinal);
        Assert.Single(_told);
    }

    [Fact]
    public async Task A_caller_that_does_not_read_holds_nobody_up_who_ends_it()
    {
        var isStuck = new TaskCompletionSource();
        using var subscription = new KvSubscription(
            _engine.Description,
            _loads,
            _feed,
            isLoadFirst: true,
            async (_, cancellation) =>
            {
                isStuck.TrySetResult();
                await Task.Delay(Timeout.InfiniteTimeSpan, cancellation);
            },
            _time
        );
        var run = subscription.RunAsync(Endpoint, _over.Token);
        await _feed.SubscribedAsync();
        await _feed.SubscribedAsync();
        var first = _feed.SendAsync("tcp://127.0.0.1:5559", 1, Payload).AsTask();
        var second = _feed.SendAsync("tcp://127.0.0.1:5560", 1, Payload).AsTask();
        await isStuck.Task.WaitAsync(Limit);
        Assert.False(first.IsCompleted || second.IsCompleted); // so the sockets are not read
        await _over.CancelAsync();
        await run.WaitAsync(Limit);
        await Task.WhenAny(Task.WhenAll(first, second)).WaitAsync(Limit); // ended, in whichever way
    }

    [Fact]
    public async Task A_caller_that_has_left_ends_it()
    {
        using var subscription = new KvSubscription(
            _engine.Description,
            _loads,
            _feed,
            isLoadFirst: true,
            (_, _) => throw new InvalidOperationException("the call is over"),
            _time
        );
        var run = subscription.RunAsync(Endpoint, _over.Token);
        await _feed.SubscribedAsync();
        await _feed.SubscribedAsync();
        await _feed.SendAsync("tcp://127.0.0.1:5559", 1, Payload);
        Assert.Equal(StatusCode.Cancelled, (await Assert.ThrowsAsync<RpcException>(() => run.WaitAsync(Limit))).StatusCode);
    }

    private KvSubscription Subscription(bool isLoadFirst) =>
        new(
            _engine.Description,
            _loads,
            _feed,
            isLoadFirst,
            (batch, _) =>
            {
                lock (_told)
                {
                    _told.Add(batch);
                }

                return Task.CompletedTask;
            },
            _time
        );

    private List<KvEventBatch> Told()
    {
        lock (_told)
        {
            return [.. _told];
        }
    }

    /// <summary>Lets time go by until it is so.</summary>
    private async Task PassAsync(Func<bool> isSo)
    {
        using var limit = new CancellationTokenSource(Limit);
        while (!isSo())
        {
            _time.Advance(TimeSpan.FromMilliseconds(100));
            await Task.Delay(1, limit.Token);
        }
    }

    private async Task AdvanceAsync(TimeSpan time)
    {
        var end = _time.GetUtcNow() + time;
        await PassAsync(() => _time.GetUtcNow() >= end);
        await Task.Delay(50); // what the last tick woke
    }
}
