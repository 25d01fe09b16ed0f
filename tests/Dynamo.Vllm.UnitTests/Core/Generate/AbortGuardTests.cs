using Dynamo.Vllm.Core.Generate;

namespace Dynamo.Vllm.UnitTests.Core.Generate;

/// <summary>When an abort may reach the engine.</summary>
public sealed class AbortGuardTests
{
    private readonly ScriptedStream _stream = new();

    [Fact]
    public void Without_a_hold_it_is_at_once_and_once()
    {
        var guard = new AbortGuard(_stream, holdUntilFirstOutput: false);
        guard.RequestAbort();
        guard.RequestAbort();
        guard.ObserveOutput();
        Assert.Equal(1, _stream.Aborts);
    }

    [Fact]
    public void With_a_hold_it_is_with_the_first_output()
    {
        var guard = new AbortGuard(_stream, holdUntilFirstOutput: true);
        guard.RequestAbort();
        Assert.Equal(0, _stream.Aborts);
        guard.ObserveOutput();
        guard.ObserveOutput();
        Assert.Equal(1, _stream.Aborts);
    }

    [Fact]
    public void After_the_first_output_there_is_no_hold()
    {
        var guard = new AbortGuard(_stream, holdUntilFirstOutput: true);
        guard.ObserveOutput();
        Assert.Equal(0, _stream.Aborts);
        guard.RequestAbort();
        Assert.Equal(1, _stream.Aborts);
    }

    [Fact]
    public void What_ends_while_it_is_held_is_left_to_the_engine()
    {
        var guard = new AbortGuard(_stream, holdUntilFirstOutput: true);
        guard.ObserveEnd();
        guard.RequestAbort();
        Assert.Equal((0, false), (_stream.Aborts, _stream.IsAbandoned));
    }

    [Fact]
    public void What_ends_otherwise_is_abandoned_and_not_aborted_any_more()
    {
        var guard = new AbortGuard(_stream, holdUntilFirstOutput: false);
        guard.ObserveEnd();
        guard.RequestAbort();
        Assert.Equal((0, true), (_stream.Aborts, _stream.IsAbandoned));
    }
}
