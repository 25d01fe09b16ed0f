using System.Buffers;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.KvEvents;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Protocol.KvEvents;
using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.UnitTests.Core.KvEvents;

public sealed class RankEventLogTests
{
    private static readonly InstanceId Worker = new(7);

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public void A_router_that_takes_any_answer_ends_where_the_log_is(int seed)
    {
        var random = new Random(seed);
        var log = new RankEventLog(0, KvRelayLimits.IndexBlocksMin);
        var outgoing = new OutgoingEvents();
        var live = new RouterModel();
        for (var step = 0; step < 4000; step++)
        {
            outgoing.Clear();
            log.Append(Worker, RandomEvent(random), default, outgoing);
            for (var i = 0; i < outgoing.MessageCount; i++)
            {
                live.ApplyAll(Decode(outgoing.Payload(i).ToArray()).AsArray());
            }

            if (step % 97 != 0)
            {
                continue;
            }

            var late = new RouterModel();
            var dump = Ask(log, null)["TreeDump"]!;
            late.ApplyAll(dump["events"]!.AsArray());
            Assert.Equal(live.Attached(), late.Attached());
            Assert.Equal(live.LastId, dump["last_event_id"]!.GetValue<ulong>());
        }

        Assert.Equal(live.Count, log.BlockCount);
    }

    [Fact]
    public void Only_the_newest_1024_events_are_told_one_by_one()
    {
        var log = new RankEventLog(0, KvRelayLimits.IndexBlocksMin);
        var outgoing = new OutgoingEvents();
        for (var i = 1UL; i <= 1100; i++)
        {
            outgoing.Clear();
            log.Append(Worker, Stored(StorageTier.Device, null, i), default, outgoing);
        }

        Assert.NotNull(Ask(log, 76)["TreeDump"]);
        var events = Ask(log, 77)["Events"]!["events"]!.AsArray();
        Assert.Equal(1024, events.Count);
        Assert.Equal(77, events[0]!["event"]!["event_id"]!.GetValue<int>());
        Assert.Single(Ask(log, 1100)["Events"]!["events"]!.AsArray());
        Assert.Equal(1100, Ask(log, 1101)["TooNew"]!["newest_available"]!.GetValue<int>());
        Assert.Equal(2, Ask(log, 5, 2)["InvalidRange"]!["end_id"]!.GetValue<int>());
    }

    [Fact]
    public void Before_the_first_event_every_question_is_answered_with_an_empty_dump()
    {
        var log = new RankEventLog(0, KvRelayLimits.IndexBlocksMin);
        foreach (var start in (ulong?[])[null, 0, 1, 99])
        {
            var dump = Ask(log, start)["TreeDump"]!;
            Assert.Empty(dump["events"]!.AsArray());
            Assert.Equal(0, dump["last_event_id"]!.GetValue<int>());
        }
    }

    [Fact]
    public void Messages_hold_128_events_and_8192_blocks_at_most()
    {
        var log = new RankEventLog(0, KvRelayLimits.IndexBlocksMin);
        var outgoing = new OutgoingEvents();
        for (var i = 0UL; i < 300; i++)
        {
            log.Append(Worker, Stored(StorageTier.Device, null, i), default, outgoing);
        }

        log.Append(
            Worker,
            Stored(StorageTier.Device, null, [.. Enumerable.Range(1000, 9000).Select(hash => (ulong)hash)]),
            default,
            outgoing
        );
        Assert.Equal(
            [128, 128, 44, 1],
            Enumerable.Range(0, outgoing.MessageCount).Select(i => Decode(outgoing.Payload(i).ToArray()).AsArray().Count)
        );
    }

    [Fact]
    public void An_index_over_its_limit_asks_for_a_clear()
    {
        var log = new RankEventLog(0, 3);
        var outgoing = new OutgoingEvents();
        Assert.True(log.Append(Worker, Stored(StorageTier.Device, null, 1, 2, 3), default, outgoing));
        Assert.False(log.Append(Worker, Stored(StorageTier.Device, null, 4), default, outgoing));
        var cleared = new RouterEventList();
        cleared.SetCleared();
        Assert.True(log.Append(Worker, cleared, default, outgoing));
        Assert.Equal(0, log.BlockCount);
    }

    private static RouterEventList RandomEvent(Random random)
    {
        var tier = random.Next(4) == 0 ? StorageTier.HostPinned : StorageTier.Device;
        if (random.Next(500) == 0)
        {
            var cleared = new RouterEventList();
            cleared.SetCleared();
            return cleared;
        }

        // Few names, so that blocks are stored twice, removed early, and stored again under children that stayed.
        var hash = (ulong)random.Next(1, 60);
        if (random.Next(3) == 0)
        {
            var removed = new RouterEventList();
            removed.AddBlock(new KvBlock(new BlockHash(hash), default, null));
            removed.AddEvent(RouterEventKind.Removed, tier, null, default, default, 0);
            return removed;
        }

        // A block's parent is a function of the block, as with hashes of prefixes.
        return Stored(
            tier,
            hash % 7 == 0 ? null
                : hash / 2 is 0 ? null
                : hash / 2,
            hash
        );
    }

    private static RouterEventList Stored(StorageTier tier, ulong? parent, params ulong[] hashes)
    {
        var events = new RouterEventList();
        foreach (var hash in hashes)
        {
            events.AddBlock(new KvBlock(new BlockHash(hash), new TokensHash(hash + 1), null));
        }

        events.AddEvent(RouterEventKind.Stored, tier, parent is { } value ? new BlockHash(value) : null, default, default, 0);
        return events;
    }

    private static JsonNode Ask(RankEventLog log, ulong? start, ulong? end = null)
    {
        var output = new ArrayBufferWriter<byte>();
        log.Answer(Worker, new KvQuery(Worker.Value, 0, start, end, true, true), output);
        return Decode(output.WrittenSpan.ToArray());
    }

    private static JsonNode Decode(byte[] payload)
    {
        var reader = new MessagePackReader(payload);
        return JsonNode.Parse(MessagePackJson.ReadAsJson(ref reader))!;
    }
}
