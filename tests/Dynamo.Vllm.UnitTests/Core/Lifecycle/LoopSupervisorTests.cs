using Dynamo.Vllm.Core.Lifecycle;
using Microsoft.Extensions.Logging.Abstractions;

namespace Dynamo.Vllm.UnitTests.Core.Lifecycle;

public sealed class LoopSupervisorTests : IDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    private readonly TaskCompletionSource<string> _fatal = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly SignallingTime _time = new();
    private readonly LoopPulses _pulses;
    private readonly LoopSupervisor _loops;

    public LoopSupervisorTests()
    {
        _pulses = new LoopPulses(_time);
        _loops = new LoopSupervisor(reason => _fatal.TrySetResult(reason), _pulses, _time, NullLogger<LoopSupervisor>.Instance);
    }

    public void Dispose() => _loops.Dispose();

    [Fact]
    public async Task A_loop_that_may_fail_begins_again_after_a_wait_that_grows()
    {
        var rounds = 0;
        var third = new TaskCompletionSource();
        _loops.Start(
            "canary",
            LoopRule.Restart,
            async token =>
            {
                if (Interlocked.Increment(ref rounds) == 3)
                {
                    third.SetResult();
                    await Task.Delay(Timeout.Infinite, token);
                }

                throw new IOException("no");
            }
        );

        await _time.ArmedAsync();
        _time.Advance(TimeSpan.FromSeconds(1));
        await _time.ArmedAsync();
        _time.Advance(TimeSpan.FromSeconds(1));
        Assert.False(third.Task.IsCompleted);
        _time.Advance(TimeSpan.FromSeconds(1));

        await third.Task.WaitAsync(Limit);
        Assert.False(_fatal.Task.IsCompleted);
        await _loops.StopAsync(Limit);
    }

    [Fact]
    public async Task A_loop_that_must_not_fail_ends_the_worker_by_its_name()
    {
        _loops.Watch("engine monitor", LoopRule.Fatal, (_, _) => throw new InvalidDataException("bad"));

        Assert.Equal("engine monitor failed: InvalidDataException: bad", await _fatal.Task.WaitAsync(Limit));
    }

    [Fact]
    public async Task What_a_loop_finds_ends_the_worker()
    {
        _loops.Watch("stall watch", LoopRule.Fatal, (_, _) => Task.FromResult<string?>("the engine hangs"));

        Assert.Equal("the engine hangs", await _fatal.Task.WaitAsync(Limit));
    }

    [Fact]
    public async Task A_stop_ends_loops_that_run_and_those_that_wait_to_begin_again()
    {
        var running = new TaskCompletionSource();
        _loops.Start(
            "runs",
            LoopRule.Fatal,
            token =>
            {
                running.SetResult();
                return Task.Delay(Timeout.Infinite, token);
            }
        );
        await running.Task.WaitAsync(Limit);
        _loops.Start("waits", LoopRule.Restart, _ => throw new IOException("no"));
        await _time.ArmedAsync();

        await _loops.StopAsync(Limit).WaitAsync(Limit);

        Assert.False(_fatal.Task.IsCompleted);
    }

    [Fact]
    public async Task A_loop_that_does_not_heed_its_token_is_not_waited_for_longer_than_the_limit()
    {
        var running = new TaskCompletionSource();
        _loops.Start(
            "deaf",
            LoopRule.Restart,
            _ =>
            {
                running.SetResult();
                return Task.Delay(Timeout.Infinite, CancellationToken.None);
            }
        );
        await running.Task.WaitAsync(Limit);

        var stop = _loops.StopAsync(TimeSpan.FromSeconds(2));
        await _time.ArmedAsync();
        _time.Advance(TimeSpan.FromSeconds(2));

        await Assert.ThrowsAsync<TimeoutException>(() => stop.WaitAsync(Limit));
    }

    [Fact]
    public async Task A_watching_loop_that_misses_its_time_is_named_until_it_ends()
    {
        var beaten = new TaskCompletionSource();
        var end = new TaskCompletionSource<string?>();
        _loops.Watch(
            "stall watch",
            LoopRule.Fatal,
            async (pulse, _) =>
            {
                pulse.Beat(TimeSpan.FromSeconds(11));
                beaten.SetResult();
                return await end.Task;
            }
        );
        await beaten.Task.WaitAsync(Limit);

        _time.Advance(TimeSpan.FromSeconds(11));
        Assert.Null(_pulses.Late);
        _time.Advance(TimeSpan.FromSeconds(1));
        Assert.Equal("stall watch", _pulses.Late);

        end.SetResult(null);
        await _loops.StopAsync(Limit);
        Assert.Null(_pulses.Late);
    }
}
