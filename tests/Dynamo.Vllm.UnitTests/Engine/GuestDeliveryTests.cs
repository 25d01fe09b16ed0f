using System.Text.Json;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Engine;
using Dynamo.Vllm.Engine.Guest;
using Dynamo.Vllm.Protocol.Errors;

namespace Dynamo.Vllm.UnitTests.Engine;

/// <summary>Each record goes to whom it belongs, and a batch that cannot be read ends the engine, not the loop.</summary>
public sealed class GuestDeliveryTests : IDisposable
{
    private const string Dead = """{"kind":"engine_dead","type":"EngineDeadError","message":"gone"}""";

    private readonly GuestBorder _border = new();

    [Fact]
    public async Task Signs_of_life_are_what_only_a_step_can_have_caused()
    {
        _border.Streams.Add(1);
        await _border.DeliverAsync(
            GuestRecords.Step((1, 1)),
            GuestRecords.Tokens(1, [2]),
            GuestRecords.Stats(0, 0.5, 1, 0),
            GuestRecords.Tokens(1, [], FinishReason.Abort, isLast: true),
            GuestRecords.Reply(9, isOk: true, "null")
        );
        Assert.Equal(3, _border.Steps.Value);
    }

    [Fact]
    public async Task Load_reaches_its_listeners()
    {
        var heard = new List<EngineLoad>();
        _border.Load.Add(heard.Add);
        await _border.DeliverAsync(GuestRecords.Stats(3, 0.25, 7, 2));
        Assert.Equal(new EngineLoad(3, 0.25, 7, 2), Assert.Single(heard));
    }

    [Fact]
    public async Task The_last_word_on_a_fetch_is_kept()
    {
        Assert.Null(_border.Delivery.Fetched);
        await _border.DeliverAsync(GuestRecords.Progress(0, 3, 10, 1L << 40), GuestRecords.Progress(2, 3, 1L << 39, 1L << 40));
        Assert.Equal(new FetchProgress(2, 3, 1L << 39, 1L << 40), _border.Delivery.Fetched);
    }

    [Fact]
    public async Task An_answer_finds_its_call()
    {
        var first = _border.Calls.AskAsync(GuestOperation.Call, null, default);
        var second = _border.Calls.AskAsync(GuestOperation.Call, null, default);
        var ids = _border.Told().ConvertAll(told => told.Id);
        await _border.DeliverAsync(
            GuestRecords.Reply(ids[1], isOk: true, "2"),
            GuestRecords.Reply(ids[0], isOk: false, """{"kind":"unknown","type":"KeyError","message":"x"}""")
        );
        Assert.Equal(2, (await second).GetInt32());
        Assert.Equal("x", (await Assert.ThrowsAsync<EngineCallException>(() => first)).Message);
        Assert.Empty(_border.Deaths);
    }

    [Fact]
    public async Task The_engine_s_death_is_noticed_also_in_an_answer_that_nobody_waits_for()
    {
        await _border.DeliverAsync(GuestRecords.Reply(77, isOk: false, Dead));
        Assert.Equal("EngineCore has died: gone", Assert.Single(_border.Deaths));
    }

    [Fact]
    public async Task After_the_end_of_the_engine_calls_to_it_fail_and_those_that_the_guest_answers_do_not()
    {
        var running = _border.Calls.AskAsync(GuestOperation.Call, null, default);
        var stopping = _border.Calls.AskAsync(GuestOperation.Shutdown, null, default);
        _border.Calls.EndEngine("gone");
        await Assert.ThrowsAsync<EngineCallException>(() => running);
        await Assert.ThrowsAsync<EngineCallException>(() => _border.Calls.AskAsync(GuestOperation.Call, null, default));
        Assert.False(stopping.IsCompleted);
        _border.Calls.EndGuest("the interpreter has ended", null);
        await Assert.ThrowsAsync<EngineCallException>(() => stopping);
    }

    [Theory]
    [InlineData(200)] // no such kind
    [InlineData((int)GuestRecordKind.Tokens)] // cut off
    public async Task A_batch_that_cannot_be_read_ends_the_engine_and_what_came_before_it_arrives(int kind)
    {
        var stream = _border.Streams.Add(1);
        await _border.DeliverAsync(GuestRecords.Step((1, 5)), [(byte)kind, 0, 0]);
        Assert.Equal(
            [
                [5],
            ],
            GuestBorder.Read(stream)
        );
        Assert.Equal("a batch of the interpreter was not readable", Assert.Single(_border.Deaths));
        Assert.Single(_border.Log.Lines, line => line.EventId == 4003);
    }

    [Fact]
    public async Task Every_cut_of_every_record_is_noticed()
    {
        byte[][] records =
        [
            GuestRecords.Tokens(
                1,
                [1, 2],
                extras: "{}",
                candidates:
                [
                    [(1, 1, -1)],
                    [(2, 1, -1)],
                ]
            ),
            GuestRecords.Step((1, 1), (2, 2)),
            GuestRecords.Stats(0, 0, 0, 0),
            GuestRecords.Reply(1, isOk: true, """{"a":1}"""),
            GuestRecords.Failure(1, Dead),
        ];
        var cuts = 0;
        foreach (var record in records)
        {
            for (var length = 1; length < record.Length; length++, cuts++)
            {
                _border.Deaths.Clear();
                await _border.DeliverAsync(record[..length]);
                Assert.Equal("a batch of the interpreter was not readable", Assert.Single(_border.Deaths));
            }
        }

        Assert.True(cuts > 100);
    }

    public void Dispose() => _border.Dispose();
}
