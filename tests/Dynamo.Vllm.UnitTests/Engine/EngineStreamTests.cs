using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Engine.Guest;
using Dynamo.Vllm.Protocol.Errors;

namespace Dynamo.Vllm.UnitTests.Engine;

/// <summary>Outputs between the delivery loop and a reader that is fast, slow, or gone.</summary>
public sealed class EngineStreamTests : IDisposable
{
    private readonly GuestBorder _border = new();

    [Fact]
    public async Task Tokens_merge_while_the_reader_is_behind_and_what_it_holds_is_left_alone()
    {
        var stream = _border.Streams.Add(1);
        await _border.DeliverAsync(
            GuestRecords.Tokens(1, [10], prompt: 5, cached: 2),
            GuestRecords.Step((1, 11)),
            GuestRecords.Step((1, 12))
        );
        Assert.True(stream.TryTake(out var held));
        Assert.Equal([10, 11, 12], held.Tokens.ToArray());
        Assert.Equal((5, 2), (held.PromptTokens, held.CachedTokens));

        await _border.DeliverAsync(GuestRecords.Step((1, 13)), GuestRecords.Tokens(1, [14], FinishReason.Length, isLast: true));
        Assert.Equal([10, 11, 12], held.Tokens.ToArray());
        Assert.True(stream.TryTake(out var last));
        Assert.Equal([13, 14], last.Tokens.ToArray());
        Assert.Equal((FinishReason.Length, true, 5), (last.Finish, last.IsLast, last.PromptTokens));
        Assert.Equal(0, _border.Streams.Count);
    }

    [Fact]
    public async Task Choices_and_logprobs_are_never_merged()
    {
        var stream = _border.Streams.Add(1);
        await _border.DeliverAsync(
            GuestRecords.Tokens(1, [1], index: 0),
            GuestRecords.Tokens(1, [2], index: 1),
            GuestRecords.Tokens(1, [3], index: 1),
            GuestRecords.Tokens(
                1,
                [4],
                index: 1,
                candidates:
                [
                    [(9, 1, -0.5), (4, 2, -1.5)],
                ]
            ),
            GuestRecords.Tokens(1, [5], index: 1)
        );

        Assert.True(stream.TryTake(out _));
        Assert.True(stream.TryTake(out var merged));
        Assert.Equal([2, 3], merged.Tokens.ToArray());
        Assert.True(stream.TryTake(out var likely));
        Assert.Equal(-1.5, Assert.Single(likely.Logprobs!).Selected); // of the token that was chosen, not of the first in the list
        Assert.True(stream.TryTake(out var after));
        Assert.Equal([5], after.Tokens.ToArray());
        Assert.False(stream.TryTake(out _));
    }

    [Fact]
    public async Task Texts_merge_with_their_tokens_and_are_not_kept_for_the_next_output()
    {
        var stream = _border.Streams.Add(1);
        await _border.DeliverAsync(
            GuestRecords.Tokens(1, [1], text: "a"),
            GuestRecords.Tokens(1, [2], text: ""),
            GuestRecords.Tokens(1, [3], text: "é漢")
        );
        Assert.True(stream.TryTake(out var merged));
        Assert.Equal([1, 2, 3], merged.Tokens.ToArray());
        Assert.Equal("aé漢", System.Text.Encoding.UTF8.GetString(merged.TextUtf8.Span));
        await _border.DeliverAsync(
            GuestRecords.Tokens(1, [4], FinishReason.Stop, isLast: true, extras: """{"stop_reason":"b"}""", text: "c")
        );
        Assert.True(stream.TryTake(out var last));
        Assert.Equal(("c", true), (System.Text.Encoding.UTF8.GetString(last.TextUtf8.Span), last.IsLast));
    }

    [Fact]
    public async Task A_waiting_reader_wakes_once_for_a_whole_batch()
    {
        var stream = _border.Streams.Add(1);
        var waiting = stream.WaitAsync().AsTask();
        Assert.False(waiting.IsCompleted);
        await _border.DeliverAsync(GuestRecords.Step((1, 1)), GuestRecords.Step((1, 2)));
        await waiting.WaitAsync(TimeSpan.FromSeconds(10));
        Assert.Equal(
            [
                [1, 2],
            ],
            GuestBorder.Read(stream)
        );
    }

    [Fact]
    public async Task A_failure_comes_after_the_tokens_that_came_before_it()
    {
        var stream = _border.Streams.Add(1);
        await _border.DeliverAsync(
            GuestRecords.Step((1, 7)),
            GuestRecords.Failure(1, """{"kind":"invalid_argument","type":"ValueError","message":"no"}""")
        );
        Assert.True(stream.TryTake(out var output));
        Assert.Equal([7], output.Tokens.ToArray());
        var failure = Assert.Throws<RequestFailedException>(() => stream.TryTake(out _));
        Assert.Contains("ValueError: no", failure.Error.Message, StringComparison.Ordinal);
        Assert.Empty(_border.Deaths);
    }

    [Fact]
    public async Task A_reader_that_never_reads_is_failed_not_ended_and_the_engine_told_to_stop()
    {
        var stream = _border.Streams.Add(1);
        var record = GuestRecords.Tokens(
            1,
            [4],
            candidates:
            [
                [(4, 1, -1)],
            ]
        );
        await _border.DeliverAsync([.. Enumerable.Repeat(record, 8193)]);

        Assert.Equal([(GuestOperation.Abort, 1UL)], _border.Told());
        Assert.Equal(0, _border.Streams.Count);
        var taken = 0;
        Assert.Throws<RequestFailedException>(() =>
        {
            while (stream.TryTake(out _))
            {
                taken++;
            }
        });
        Assert.Equal(8193, taken); // nothing that was there is lost
        Assert.Single(_border.Log.Lines, line => line.EventId == 4004);
    }

    [Fact]
    public async Task Released_the_reader_gets_the_error_at_once_and_the_engine_is_told_when_it_shows_itself()
    {
        var stream = _border.Streams.Add(1);
        var waiting = stream.WaitAsync().AsTask();
        _border.Streams.ReleaseAll(DynamoError.EngineShutdown("hung"));
        await waiting.WaitAsync(TimeSpan.FromSeconds(10));
        Assert.Throws<RequestFailedException>(() => stream.TryTake(out _));
        Assert.Empty(_border.Told());

        await _border.DeliverAsync(GuestRecords.Step((1, 1)), GuestRecords.Step((1, 2)));
        Assert.Equal([(GuestOperation.Abort, 1UL)], _border.Told());
        Assert.Equal(1, _border.Streams.Count);
        await _border.DeliverAsync(GuestRecords.Tokens(1, [], FinishReason.Abort, isLast: true));
        Assert.Equal(0, _border.Streams.Count);
    }

    [Fact]
    public async Task It_is_aborted_once_and_not_after_its_end()
    {
        var stream = _border.Streams.Add(1);
        stream.Abort();
        stream.Abandon();
        Assert.Equal([(GuestOperation.Abort, 1UL)], _border.Told());

        var ended = _border.Streams.Add(2);
        await _border.DeliverAsync(GuestRecords.Tokens(2, [1], FinishReason.Stop, isLast: true));
        ended.Abort();
        Assert.Empty(_border.Told());
    }

    public void Dispose() => _border.Dispose();
}
