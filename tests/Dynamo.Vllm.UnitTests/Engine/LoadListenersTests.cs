using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Engine.Guest;
using Dynamo.Vllm.Testing.Logs;

namespace Dynamo.Vllm.UnitTests.Engine;

/// <summary>A listener of ours that fails is not the engine's failure.</summary>
public sealed class LoadListenersTests
{
    [Fact]
    public void One_that_throws_is_told_of_once_and_keeps_nothing_from_the_others()
    {
        var log = new LogCapture();
        var listeners = new LoadListeners(log.CreateLogger("engine"));
        var heard = 0;
        listeners.Add(_ => throw new InvalidOperationException("no"));
        listeners.Add(_ => heard++);

        listeners.Notify(default, sampledAt: 1);
        listeners.Notify(default, sampledAt: 1);

        Assert.Equal(2, heard);
        Assert.Single(log.Lines, line => line.EventId == 4005);
    }

    [Fact]
    public void A_step_that_is_told_after_a_later_one_of_its_rank_is_passed_over()
    {
        var listeners = new LoadListeners(new LogCapture().CreateLogger("engine"));
        var heard = new List<(int Rank, int Running)>();
        listeners.Add(load => heard.Add((load.Rank, load.Running)));

        listeners.Notify(new EngineLoad(0, 0, Running: 2, 0), sampledAt: 5);
        listeners.Notify(new EngineLoad(0, 0, Running: 0, 0), sampledAt: 6);
        listeners.Notify(new EngineLoad(0, 0, Running: 1, 0), sampledAt: 5.5); // through the interpreter, which was busy
        listeners.Notify(new EngineLoad(1, 0, Running: 7, 0), sampledAt: 1); // another rank has another clock

        Assert.Equal([(0, 2), (0, 0), (1, 7)], heard);
    }

    [Fact]
    public void One_that_was_taken_away_hears_nothing_more()
    {
        var listeners = new LoadListeners(new LogCapture().CreateLogger("engine"));
        var heard = 0;
        Action<EngineLoad> listener = _ => heard++;
        listeners.Add(listener);
        listeners.Remove(listener);
        listeners.Notify(default, sampledAt: 1);
        Assert.Equal(0, heard);
    }
}
