using Dynamo.Vllm.Core.Lifecycle;
using Microsoft.Extensions.Logging.Abstractions;

namespace Dynamo.Vllm.UnitTests.Core.Lifecycle;

public sealed class StageSequenceTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);
    private static readonly StopCause Asked = new(StopKind.Asked, "asked");

    private readonly List<string> _journal = [];
    private readonly SignallingTime _time = new();

    [Fact]
    public async Task Stages_come_up_in_order_and_go_down_in_reverse()
    {
        var sequence = Sequence(Stage("a"), Stage("b"), Stage("c"));

        await sequence.UpAsync(default);
        await sequence.DownAsync(Asked);

        Assert.Equal(["a up", "b up", "c up", "c down: asked", "b down: asked", "a down: asked"], _journal);
    }

    [Fact]
    public async Task A_stage_that_fails_to_come_up_is_taken_down_with_those_below_and_none_above_begins()
    {
        var sequence = Sequence(Stage("a"), new StageFake("b", _journal) { Up = _ => throw new IOException("no port") }, Stage("c"));

        await Assert.ThrowsAsync<IOException>(() => sequence.UpAsync(default));
        await sequence.DownAsync(new StopCause(StopKind.StartFailed, "failed"));

        Assert.Equal(["a up", "b up", "b down: failed", "a down: failed"], _journal);
    }

    [Fact]
    public async Task A_stop_waits_for_the_stage_that_comes_up_and_none_begins_after_it()
    {
        var entered = new TaskCompletionSource();
        var release = new TaskCompletionSource();
        using var starting = new CancellationTokenSource();
        var sequence = Sequence(
            new StageFake("a", _journal)
            {
                Up = _ =>
                {
                    entered.SetResult();
                    return release.Task;
                },
            },
            Stage("b")
        );
        var up = sequence.UpAsync(starting.Token);
        await entered.Task.WaitAsync(Limit);

        await starting.CancelAsync();
        var down = sequence.DownAsync(Asked);
        Assert.False(down.IsCompleted);
        release.SetResult();

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => up.WaitAsync(Limit));
        await down.WaitAsync(Limit);
        Assert.Equal(["a up", "a down: asked"], _journal);
    }

    [Fact]
    public async Task Nothing_comes_up_after_a_stop()
    {
        var sequence = Sequence(Stage("a"));

        await sequence.DownAsync(Asked);

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => sequence.UpAsync(default));
        Assert.Empty(_journal);
    }

    [Fact]
    public async Task Every_stop_is_the_first_one()
    {
        var release = new TaskCompletionSource();
        var sequence = Sequence(new StageFake("a", _journal) { Down = () => release.Task });
        await sequence.UpAsync(default);

        var first = sequence.DownAsync(Asked);
        var second = sequence.DownAsync(new StopCause(StopKind.Fatal, "the engine died"));
        Assert.False(second.IsCompleted);
        release.SetResult();

        await Task.WhenAll(first, second).WaitAsync(Limit);
        Assert.Equal(["a up", "a down: asked"], _journal);
    }

    [Fact]
    public async Task A_stage_that_fails_or_hangs_on_its_way_down_does_not_keep_the_others_up()
    {
        var sequence = Sequence(
            Stage("a"),
            new StageFake("b", _journal) { Down = () => throw new IOException("gone") },
            new StageFake("c", _journal) { Down = () => Task.Delay(Timeout.Infinite), DownLimit = TimeSpan.FromSeconds(7) }
        );
        await sequence.UpAsync(default);

        var down = sequence.DownAsync(Asked);
        await _time.ArmedAsync();
        _time.Advance(TimeSpan.FromSeconds(8)); // its limit has passed, the tolerance has not
        Assert.False(down.IsCompleted);
        _time.Advance(TimeSpan.FromSeconds(2));

        await down.WaitAsync(Limit);
        Assert.Equal(["a up", "b up", "c up", "c down: asked", "b down: asked", "a down: asked"], _journal);
    }

    [Fact]
    public void A_stop_takes_at_most_what_its_stages_take() =>
        Assert.Equal(TimeSpan.FromSeconds(6), Sequence(Stage("a"), Stage("b")).DownLimit);

    private StageFake Stage(string name) => new(name, _journal);

    private StageSequence Sequence(params IStage[] stages) => new(stages, _time, NullLogger<StageSequence>.Instance);
}
