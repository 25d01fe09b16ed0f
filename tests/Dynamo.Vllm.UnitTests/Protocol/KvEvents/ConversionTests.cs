using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol.KvEvents;
using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.UnitTests.Protocol.KvEvents;

using Dynamo.Vllm.Testing;

public sealed class ConversionTests
{
    [Fact]
    public void All_57_captured_batches_become_the_messages_of_the_reference_byte_for_byte()
    {
        var golden = Golden.Json("kv/conversion-cases.json");
        var cases = golden["cases"]!.AsArray();
        var worker = cases[0]!["output_messages"]![0]!["events"]![0]!["worker_id"]!.GetValue<ulong>();
        var pipeline = new KvPipeline(new KvEventConversion(golden["kv_block_size"]!.GetValue<int>()), worker, acceptsByteHashes: false);
        var skipped = 0;
        foreach (var item in cases)
        {
            var label = item!["label"]!.GetValue<string>();
            var frames = item["input_frames_hex"]!.AsArray().Select(frame => Convert.FromHexString(frame!.GetValue<string>())).ToArray();
            var expected = item["output_messages"]!.AsArray().Select(message => message!["payload_hex"]!.GetValue<string>());
            if (label == "dp_rank3")
            {
                // One publisher of the reference carries any rank; ours are one per rank. The id is consumed all the same.
                skipped++;
                pipeline.Send(frames[2]);
                continue;
            }

            var actual = frames.Length == 3 ? pipeline.Send(frames[2]) : [];
            Assert.Equal((label, string.Join('|', expected)), (label, string.Join('|', actual.Select(Convert.ToHexStringLower))));
        }

        Assert.Equal(57, cases.Count);
        Assert.Equal(1, skipped);
    }

    [Fact]
    public void A_publisher_of_another_rank_differs_in_the_rank_only()
    {
        var golden = Golden.Json("kv/conversion-cases.json");
        var item = golden["cases"]!.AsArray().Single(item => item!["label"]!.GetValue<string>() == "dp_rank3")!;
        var expected = item["output_messages"]![0]!;
        var pipeline = new KvPipeline(new KvEventConversion(4), expected["events"]![0]!["worker_id"]!.GetValue<ulong>(), rank: 3);
        var actual = pipeline.Send(Convert.FromHexString(item["input_frames_hex"]![2]!.GetValue<string>()));
        // The captured event has id 30, ours is the first.
        Assert.Equal(
            expected["payload_hex"]!.GetValue<string>().Replace("6576656e745f69641e", "6576656e745f696401", StringComparison.Ordinal),
            Convert.ToHexStringLower(Assert.Single(actual))
        );
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    public void Captured_batches_with_media_become_the_events_of_the_reference(int configuration)
    {
        var golden = JsonNode.Parse(Golden.Text("kv/conversion-cases-multimodal.json"))!.AsArray()[configuration]!;
        var worker = golden["cases"]![0]!["events"]![0]!["worker_id"]!.GetValue<ulong>();
        var conversion = new KvEventConversion(
            golden["kv_block_size"]!.GetValue<int>(),
            golden["image_token_id"]?.GetValue<uint>(),
            golden["video_token_id"]?.GetValue<uint>()
        );
        var pipeline = new KvPipeline(conversion, worker);
        Assert.Equal(10, golden["cases"]!.AsArray().Count);
        foreach (var item in golden["cases"]!.AsArray())
        {
            var actual = pipeline.Send(Convert.FromHexString(item!["input_payload_hex"]!.GetValue<string>()));
            Assert.True(JsonNode.DeepEquals(item["events"], Decode(Assert.Single(actual))), item["label"]!.GetValue<string>());
        }
    }

    [Fact]
    public void Batches_of_the_real_engine_are_decoded_with_every_block()
    {
        var payloads = Directory
            .GetFiles(Path.Combine(AppContext.BaseDirectory, "golden", "kv"), "vllm-*.payload.bin")
            .Order(StringComparer.Ordinal)
            .ToArray();
        var pipeline = new KvPipeline(new KvEventConversion(32), 1);
        Assert.Equal(9, payloads.Length);
        foreach (var path in payloads)
        {
            Assert.NotEmpty(pipeline.Send(File.ReadAllBytes(path)));
        }

        // Cleared in the last batch, then one prompt of two blocks.
        Assert.Equal(2, pipeline.Log.BlockCount);
    }

    [Fact]
    public void Byte_hashes_count_as_their_last_eight_bytes()
    {
        var item = Golden.Json("kv/conversion-cases.json")["cases"]!
            .AsArray()
            .Single(item => item!["label"]!.GetValue<string>() == "stored_bytes_hash")!;
        var pipeline = new KvPipeline(new KvEventConversion(4), 1);
        var events = Decode(Assert.Single(pipeline.Send(Convert.FromHexString(item["input_frames_hex"]![2]!.GetValue<string>()))));
        Assert.Equal(0x0101010101010101UL, events![0]!["event"]!["data"]!["stored"]!["blocks"]![0]!["block_hash"]!.GetValue<ulong>());
    }

    [Fact]
    public void A_batch_cut_at_any_byte_is_refused_whole()
    {
        foreach (
            var item in Golden.Json("kv/conversion-cases.json")["cases"]!
                .AsArray()
                .Where(item => item!["input_frames_hex"]!.AsArray().Count == 3)
        )
        {
            var payload = Convert.FromHexString(item!["input_frames_hex"]![2]!.GetValue<string>());
            for (var length = 0; length < Math.Min(payload.Length, 400); length++)
            {
                Assert.Empty(new KvPipeline(new KvEventConversion(4), 1).Send(payload.AsSpan(0, length)));
            }
        }
    }

    [Fact]
    public void A_batch_with_any_byte_changed_does_no_harm()
    {
        var payload = Golden.Bytes("kv/vllm-06-p6_evict2.payload.bin");
        var random = new Random(20261124);
        for (var i = 0; i < 20_000; i++)
        {
            var changed = payload.ToArray();
            changed[random.Next(changed.Length)] = (byte)random.Next(256);
            new KvPipeline(new KvEventConversion(32), 1).Send(changed); // whatever it says, no exception and no endless loop
        }
    }

    [Fact]
    public void Unknown_fields_of_later_engines_are_skipped()
    {
        var known = new KvPipeline(new KvEventConversion(2), 1).Send(
            Batch(("type", "BlockRemoved"), ("block_hashes", new JsonArray(7)), ("medium", "GPU"))
        );
        var more = new KvPipeline(new KvEventConversion(2), 1).Send(
            Batch(
                ("type", "BlockRemoved"),
                ("new", new JsonObject { ["a"] = new JsonArray(1, "x") }),
                ("block_hashes", new JsonArray(7)),
                ("medium", "GPU")
            )
        );
        Assert.Equal(known, more);
    }

    [Fact]
    public void A_header_that_claims_more_than_it_has_allocates_nothing()
    {
        byte[] payload = [0x93, 0xcb, 0, 0, 0, 0, 0, 0, 0, 0, 0xdd, 0xff, 0xff, 0xff, 0xff];
        Assert.Empty(new KvPipeline(new KvEventConversion(4), 1).Send(payload));
    }

    [Fact]
    public void Steady_conversion_allocates_nothing()
    {
        var payload = Golden.Bytes("kv/vllm-00-p1_store2.payload.bin");
        var batch = new EngineEventBatch();
        var converter = new KvEventConverter(new KvEventConversion(32));
        var events = new RouterEventList();
        Run(100);
        var before = GC.GetAllocatedBytesForCurrentThread();
        Run(1000);
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);

        void Run(int times)
        {
            for (var i = 0; i < times; i++)
            {
                batch.Decode(payload);
                converter.Convert(batch, payload, events);
            }
        }
    }

    internal static JsonNode? Decode(byte[] payload)
    {
        var reader = new MessagePackReader(payload);
        return JsonNode.Parse(MessagePackJson.ReadAsJson(ref reader));
    }

    private static byte[] Batch(params (string Name, JsonNode Value)[] fields)
    {
        var entry = new JsonObject();
        foreach (var (name, value) in fields)
        {
            entry[name] = value.DeepClone();
        }

        var output = new System.Buffers.ArrayBufferWriter<byte>();
        MessagePackJson.WriteMessagePack(
            System.Text.Encoding.UTF8.GetBytes(new JsonArray(1.5, new JsonArray(entry), 0).ToJsonString()),
            output
        );
        return output.WrittenSpan.ToArray();
    }
}
