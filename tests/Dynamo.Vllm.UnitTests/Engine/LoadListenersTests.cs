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

        listeners.Notify(default);
        listeners.Notify(default);

        Assert.Equal(2, heard);
        Assert.Single(log.Lines, line => line.EventId == 4005);
    }

    [Fact]
    public void One_that_was_taken_away_hears_nothing_more()
    {
        var listeners = new LoadListeners(new LogCapture().CreateLogger("engine"));
        var heard = 0;
        Action<EngineLoad> listener = _ => heard++;
        listeners.Add(listener);
        listeners.Remove(listener);
        listeners.Notify(default);
        Assert.Equal(0, heard);
    }
}
