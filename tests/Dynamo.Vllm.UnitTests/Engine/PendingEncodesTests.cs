using System.Runtime.InteropServices;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Engine.Guest;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.Requests;

namespace Dynamo.Vllm.UnitTests.Engine;

/// <summary>An embedding request ends once for its caller, and is known until the guest has let go of it.</summary>
public sealed class PendingEncodesTests : IDisposable
{
    private static readonly EmbeddingRequest Request = new()
    {
        Prompts = new EmbeddingPrompts { TokenIds = new[] { 1, 2, 3 }, TokenCounts = [2, 1] },
        IsPreprocessed = true,
    };

    private readonly GuestBorder _border = new();

    [Fact]
    public async Task Vectors_reach_the_caller_they_were_made_for_and_are_a_sign_of_life()
    {
        var (first, second) = (Start(out var firstId), Start(out var secondId));
        Assert.Equal([(GuestOperation.Encode, firstId), (GuestOperation.Encode, secondId)], _border.Told());
        await _border.DeliverAsync(
            GuestRecords.Vectors(secondId, 3, [1f, 2f], [3f]),
            GuestRecords.Vectors(firstId, 7, [-0.5f]),
            GuestRecords.Vectors(99, 1, [0f])
        );
        var vectors = await second;
        Assert.Equal((2, 3L), (vectors.Count, vectors.PromptTokens));
        Assert.Equal([1f, 2f], MemoryMarshal.Cast<byte, float>(vectors[0]).ToArray());
        Assert.Equal([3f], MemoryMarshal.Cast<byte, float>(vectors[1]).ToArray());
        Assert.Equal(7, (await first).PromptTokens);
        Assert.Equal((0, 3L), (_border.Encodes.Count, _border.Steps.Value));
    }

    [Fact]
    public async Task A_caller_that_gives_up_goes_at_once_and_the_guest_is_told()
    {
        using var leaving = new CancellationTokenSource();
        var run = Start(out var id, leaving.Token);
        _border.Told();
        await leaving.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => run);
        Assert.Equal([(GuestOperation.Abort, id)], _border.Told());
        Assert.Equal(1, _border.Encodes.Count); // the engine may still be at it
        await _border.DeliverAsync(GuestRecords.Failure(id, """{"kind":"unknown","type":"CancelledError","message":""}"""));
        Assert.Equal(0, _border.Encodes.Count);
    }

    [Fact]
    public async Task One_that_has_ended_is_not_taken_out_of_the_engine()
    {
        using var leaving = new CancellationTokenSource();
        var run = Start(out var id, leaving.Token);
        await _border.DeliverAsync(GuestRecords.Vectors(id, 1, [1f]));
        await run;
        _border.Told();
        await leaving.CancelAsync();
        Assert.Empty(_border.Told());
    }

    [Fact]
    public async Task A_refusal_ends_its_request_alone()
    {
        var (refused, other) = (Start(out var id), Start(out _));
        await _border.DeliverAsync(
            GuestRecords.Failure(id, """{"kind":"http","status":400,"type":"VLLMValidationError","message":"no"}""")
        );
        Assert.Equal("no", (await Assert.ThrowsAsync<RequestFailedException>(() => refused)).Error.PublicMessage);
        Assert.False(other.IsCompleted);
        Assert.Empty(_border.Deaths);
    }

    [Fact]
    public async Task What_a_hung_engine_holds_is_given_back_and_known_until_it_goes_on()
    {
        var run = Start(out var id);
        _border.Told();
        _border.Encodes.ReleaseAll(DynamoError.EngineShutdown("hung"));
        Assert.Equal("hung", (await Assert.ThrowsAsync<RequestFailedException>(() => run)).Message);
        Assert.Equal([(GuestOperation.Abort, id)], _border.Told());
        Assert.Equal(1, _border.Encodes.Count);
        await _border.DeliverAsync(GuestRecords.Vectors(id, 1, [1f])); // it had made them already
        Assert.Equal(0, _border.Encodes.Count);
    }

    [Fact]
    public async Task A_dead_engine_fails_all()
    {
        var runs = new[] { Start(out _), Start(out _) };
        _border.Encodes.FailAll(DynamoError.EngineShutdown("dead"));
        foreach (var run in runs)
        {
            Assert.Equal("backend.engine_shutdown", (await Assert.ThrowsAsync<RequestFailedException>(() => run)).Error.Reason);
        }

        Assert.Equal(0, _border.Encodes.Count);
    }

    public void Dispose() => _border.Dispose();

    private Task<PromptVectors> Start(out ulong id, CancellationToken cancellationToken = default)
    {
        var pending = _border.Encodes.Start("r", Request);
        id = pending.Id;
        return _border.Encodes.WaitAsync(pending, cancellationToken);
    }
}
