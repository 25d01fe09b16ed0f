using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Engine.Requests;
using Dynamo.Vllm.Protocol.Errors;
using Microsoft.Extensions.Time.Testing;

namespace Dynamo.Vllm.UnitTests.Engine;

/// <summary>Tokens that leave together, and what never waits for company.</summary>
public sealed class ItemPaceTests : IDisposable
{
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(20);
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(20);

    private readonly FakeTimeProvider _time = new();
    private readonly GuestBorder _border = new();
    private readonly StreamWakes _wakes;
    private readonly EngineStream _stream;

    public ItemPaceTests()
    {
        _wakes = new StreamWakes(new ItemPace(Interval, _time));
        _stream = _border.Streams.Add(1);
    }

    [Fact]
    public async Task Tokens_within_the_interval_leave_in_one_item_and_the_first_leaves_at_once()
    {
        StepUntilWaiting();
        var waiting = _stream.WaitAsync();
        Step(2);
        Step(3);
        Assert.False(waiting.IsCompleted);
        _time.Advance(Interval);
        await waiting.AsTask().WaitAsync(Limit);
        Assert.Equal([2, 3], Take());
    }

    [Fact]
    public async Task The_first_token_of_a_response_does_not_wait()
    {
        var waiting = _stream.WaitAsync();
        Step(1);
        await waiting.AsTask().WaitAsync(Limit);
        Assert.Equal([1], Take());
    }

    [Fact]
    public async Task A_step_after_the_interval_takes_along_what_was_held()
    {
        StepUntilWaiting();
        _time.Advance(Interval);
        var waiting = _stream.WaitAsync();
        Step(2);
        await waiting.AsTask().WaitAsync(Limit);
        Assert.Equal([2], Take());
    }

    [Fact]
    public async Task The_end_of_a_response_does_not_wait()
    {
        StepUntilWaiting();
        var waiting = _stream.WaitAsync();
        Step(2);
        Step(3, FinishReason.Stop);
        await waiting.AsTask().WaitAsync(Limit);
        Assert.Equal([2, 3], Take());
    }

    [Fact]
    public async Task A_response_that_fails_does_not_wait()
    {
        StepUntilWaiting();
        var waiting = _stream.WaitAsync();
        Step(2);
        _stream.Fail(DynamoError.EngineShutdown("gone"));
        await waiting.AsTask().WaitAsync(Limit);
        Assert.Equal([2], Take());
        Assert.Throws<RequestFailedException>(() => _stream.TryTake(out _));
        _time.Advance(Interval); // it is still among those that were held
    }

    public void Dispose() => _border.Dispose();

    /// <summary>The first token has been read, and its reader has nothing left to read.</summary>
    private void StepUntilWaiting()
    {
        Step(1);
        Assert.Equal([1], Take());
        Assert.False(_stream.TryTake(out _));
    }

    private int[] Take()
    {
        Assert.True(_stream.TryTake(out var output));
        return output.Tokens.ToArray();
    }

    private void Step(int token, FinishReason finish = FinishReason.None)
    {
        _border.Deliver(_stream, token, finish, _wakes);
        _wakes.Run();
    }
}
