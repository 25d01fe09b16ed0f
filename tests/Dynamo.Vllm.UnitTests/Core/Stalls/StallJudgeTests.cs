using Dynamo.Vllm.Core.Health.Stalls;

namespace Dynamo.Vllm.UnitTests.Core.Stalls;

public sealed class StallJudgeTests
{
    private static readonly TimeSpan Second = TimeSpan.FromSeconds(1);

    private readonly StallJudge _judge = new(new StallLimits());
    private TimeSpan _engineCpu;
    private TimeSpan _helperCpu;

    /// <summary>What the processes look like, and after how many seconds what is done about it.</summary>
    [Theory]
    [InlineData("stopped", 4, 8, 120)]
    [InlineData("idle", 5, 9, 120)] // the first look has nothing to compare with
    [InlineData("computing", 9, 28, 120)]
    [InlineData("runnable", 9, 28, 120)]
    [InlineData("gpu", 9, 28, 120)]
    [InlineData("unknown", 9, 28, 120)]
    [InlineData("deaf interpreter", 9, 28, 120)]
    [InlineData("compiling", 60, 90, 120)]
    [InlineData("control call", 60, 90, 120)]
    [InlineData("first step", 60, 90, 120)]
    public void Each_kind_of_silence_has_its_limits(string kind, int suspect, int released, int givenUp)
    {
        var seen = new Dictionary<StallStage, int>();
        for (var second = 1; second <= 130; second++)
        {
            seen.TryAdd(Observe(kind), second);
        }

        // A compiler's first look has nothing to compare with either.
        Assert.InRange(seen[StallStage.Suspect], suspect, suspect + 1);
        Assert.InRange(seen[StallStage.Released], released, released + 1);
        Assert.Equal(givenUp, seen[StallStage.GivenUp]);
    }

    [Fact]
    public void A_sign_of_life_undoes_everything()
    {
        Repeat("stopped", 10);
        Assert.Equal(StallStage.Released, _judge.Stage);
        Assert.Equal(StallStage.None, Observe("alive"));
        Assert.Equal(StallStage.None, Repeat("stopped", 3));
    }

    [Fact]
    public void Nothing_but_a_sign_of_life_does()
    {
        Repeat("stopped", 10);
        Assert.Equal(StallStage.Released, Repeat("computing", 5));
    }

    [Fact]
    public void A_debugger_that_stops_the_engine_for_three_seconds_raises_no_alarm()
    {
        for (var i = 0; i < 20; i++)
        {
            Assert.Equal(StallStage.None, Repeat("stopped", 3));
            Assert.Equal(StallStage.None, Observe("alive"));
        }
    }

    [Fact]
    public void A_compilation_of_33_seconds_and_what_follows_it_raise_no_alarm()
    {
        Observe("alive");
        Assert.Equal(StallStage.None, Repeat("compiling", 33));
        Assert.Equal(StallStage.None, Repeat("computing", 7));
    }

    [Fact]
    public void An_engine_whose_steps_take_six_seconds_is_given_four_times_that()
    {
        for (var i = 0; i < 3; i++)
        {
            Repeat("computing", 6);
            Observe("alive");
        }

        Assert.Equal(StallStage.None, Repeat("computing", 22));
        Assert.Equal(StallStage.Suspect, Repeat("computing", 3));
    }

    [Fact]
    public void A_freeze_is_not_taken_for_a_slow_step()
    {
        Repeat("stopped", 60);
        Observe("alive");
        Assert.Equal(StallStage.Suspect, Repeat("computing", 10));
    }

    [Fact]
    public void A_worker_that_was_stopped_itself_blames_nobody()
    {
        Observe("stopped");
        Assert.Equal(StallStage.None, _judge.Observe(Observation("stopped") with { Elapsed = TimeSpan.FromMinutes(5) }));
    }

    private StallStage Repeat(string kind, int seconds)
    {
        for (var i = 0; i < seconds; i++)
        {
            Observe(kind);
        }

        return _judge.Stage;
    }

    private StallStage Observe(string kind) => _judge.Observe(Observation(kind));

    private StallObservation Observation(string kind)
    {
        _engineCpu += kind is "computing" or "deaf interpreter" ? Second : TimeSpan.Zero;
        _helperCpu += kind == "compiling" ? Second : TimeSpan.Zero;
        EngineActivity? activity =
            kind == "unknown" ? null : new EngineActivity(kind == "stopped", kind == "runnable", _engineCpu, _helperCpu, kind == "gpu");
        return new StallObservation(
            Second,
            IsAlive: kind == "alive",
            HasStepped: kind != "first step",
            IsInterpreterAlive: kind != "deaf interpreter",
            kind == "control call",
            kind is "first step" or "control call" ? activity!.Value with { IsRunnable = true } : activity
        );
    }
}
