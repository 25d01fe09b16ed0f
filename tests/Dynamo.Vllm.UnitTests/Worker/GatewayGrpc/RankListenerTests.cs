using System.Buffers.Binary;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.KvEvents;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Worker.GatewayGrpc;
using Dynamo.Vllm.Worker.GatewayGrpc.Contract;
using Google.Protobuf;
using Grpc.Core;

namespace Dynamo.Vllm.UnitTests.Worker.GatewayGrpc;

/// <summary>The engine's batches in the words of the contract.</summary>
public sealed class RankListenerTests
{
    private readonly List<KvEventBatch> _told = [];
    private readonly List<(StatusCode Code, string Text)> _lost = [];
    private readonly RankListener _listener;

    public RankListenerTests() =>
        _listener = new RankListener(
            rank: 0,
            (_, batch) =>
            {
                _told.Add(batch);
                return Task.CompletedTask;
            },
            (code, text) => _lost.Add((code, text))
        );

    /// <summary>The gateway's own converter made the bytes, out of what a real vLLM published; later it got more fields.</summary>
    [Fact]
    public async Task Batches_of_vLLM_are_those_of_the_gateway_s_own_converter()
    {
        var cases = Golden
            .Text("grpc/gateway-kv-batches.jsonl")
            .Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Select(line => JsonNode.Parse(line)!)
            .ToList();
        Assert.True(cases.Count > 5);
        foreach (var known in cases)
        {
            _told.Clear();
            var listener = new RankListener(0, (_, batch) => Task.Run(() => _told.Add(batch)), (_, problem) => Assert.Fail(problem));
            await listener.OnMessageAsync(Message(7, Golden.Bytes($"kv/{known["payload"]!.GetValue<string>()}")));
            var told = Assert.Single(_told);
            told.DpRank = 0;
            foreach (var entry in told.Events)
            {
                RemoveWhatCameLater(entry);
            }

            Assert.Equal(KvEventBatch.Parser.ParseFrom(Convert.FromHexString(known["hex"]!.GetValue<string>())), told);
        }
    }

    [Fact]
    public async Task What_the_engine_says_beside_the_blocks_is_told_too()
    {
        await _listener.OnMessageAsync(Message(0, Golden.Bytes("kv/vllm-02-p4_salt.payload.bin")));
        var stored = Assert.Single(_told).Events.First(entry => entry.Stored is not null).Stored;
        Assert.Equal(
            ("GPU", KvCacheTier.Device, 0u, "full_attention", KvCacheLocality.Local),
            (stored.Medium, stored.Tier, stored.GroupIdx, stored.KvCacheSpecKind, stored.Locality)
        );
        Assert.Contains(stored.Blocks[0].ExtraKeys, key => key.KeyCase == KvBlockExtraKey.KeyOneofCase.Text && key.Text.Length > 0);
    }

    [Theory]
    [InlineData(9, "batches 1 to 8 were lost")]
    [InlineData(0, "the engine's publisher began again")]
    public async Task A_hole_ends_the_subscription(ulong next, string problem)
    {
        var payload = Golden.Bytes("kv/vllm-00-p1_store2.payload.bin");
        await _listener.OnMessageAsync(Message(0, payload));
        await _listener.OnMessageAsync(Message(next, payload));
        Assert.Single(_told);
        Assert.Equal((StatusCode.DataLoss, $"KV events of rank 0: {problem}; subscribe again with 0 and rebuild"), Assert.Single(_lost));
    }

    [Fact]
    public async Task So_does_a_batch_that_cannot_be_read_and_a_publisher_that_goes_away()
    {
        _listener.OnDisconnected("not there yet");
        Assert.Empty(_lost);
        await _listener.OnMessageAsync(Message(0, [0x91, 0x01]));
        _listener.OnConnected();
        _listener.OnDisconnected("closed");
        Assert.Empty(_told);
        Assert.Equal([StatusCode.DataLoss, StatusCode.DataLoss], _lost.Select(end => end.Code));
    }

    private static EngineMessage Message(ulong sequence, byte[] payload)
    {
        var number = new byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64BigEndian(number, sequence);
        return new EngineMessage(EngineMessage.FramesNeeded, number, payload);
    }

    private static void RemoveWhatCameLater(KvCacheEvent entry)
    {
        if (entry.Stored is { } stored)
        {
            stored.ClearTier();
            stored.ClearMedium();
            stored.ClearGroupIdx();
            stored.ClearKvCacheSpecKind();
            stored.ClearLocality();
            stored.ClearOwnership();
            stored.ClearSessionId();
            stored.ClearLoraName();
            stored.ClearCacheSalt();
            foreach (var block in stored.Blocks)
            {
                block.ExtraKeys.Clear();
            }
        }

        if (entry.Removed is { } removed)
        {
            removed.ClearTier();
            removed.ClearMedium();
            removed.ClearGroupIdx();
            removed.ClearLocality();
            removed.ClearOwnership();
        }

        entry.Cleared?.ClearOwnership();
    }
}
