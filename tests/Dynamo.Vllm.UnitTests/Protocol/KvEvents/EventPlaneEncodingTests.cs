using System.Buffers;
using System.Buffers.Binary;
using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Protocol.KvEvents;
using Dynamo.Vllm.Protocol.MessagePack;
using Dynamo.Vllm.Protocol.Responses;

namespace Dynamo.Vllm.UnitTests.Protocol.KvEvents;

using Dynamo.Vllm.Testing;

public sealed class EventPlaneEncodingTests
{
    [Theory]
    [InlineData("stored")]
    [InlineData("removed")]
    [InlineData("cleared")]
    [InlineData("kv_metrics")]
    [InlineData("active_sequences_events")]
    public void Zmq_frames_equal_the_reference(string name)
    {
        var frame = Golden.Bytes($"kv/zmq-direct-{name}.frame3.bin");
        var envelope = frame.AsSpan(EventEnvelope.FrameHeaderBytes).ToArray();
        var header = new byte[EventEnvelope.FrameHeaderBytes];
        EventEnvelope.WriteFrameHeader(header, envelope.Length);
        Assert.Equal(frame[..EventEnvelope.FrameHeaderBytes], header);
        Assert.Equal(envelope, Rebuild(envelope, out var publisher, out var sequence, out var topic));
        Assert.Equal(Golden.Bytes($"kv/zmq-direct-{name}.frame0.bin"), Encoding.UTF8.GetBytes(topic));
        Assert.Equal(BinaryPrimitives.ReadUInt64BigEndian(Golden.Bytes($"kv/zmq-direct-{name}.frame1.bin")), publisher.Value);
        Assert.Equal(BinaryPrimitives.ReadUInt64BigEndian(Golden.Bytes($"kv/zmq-direct-{name}.frame2.bin")), sequence);
    }

    [Theory]
    [InlineData("stored")]
    [InlineData("removed")]
    [InlineData("cleared")]
    [InlineData("kv_metrics")]
    public void Nats_messages_are_the_bare_envelope(string name)
    {
        var message = Golden.Bytes($"kv/nats-{name}.message.bin");
        Assert.Equal(message, Rebuild(message, out _, out _, out _));
    }

    [Fact]
    public void Load_equals_the_reference()
    {
        foreach (
            var item in JsonNode
                .Parse(Golden.Text("kv/dynamo-vllm-eventplane.json"))!
                .AsArray()
                .Where(item => item!["topic"]!.GetValue<string>() == "kv_metrics")
        )
        {
            var output = new ArrayBufferWriter<byte>();
            var payload = item!["payload"]!;
            ActiveLoadEncoder.Write(
                output,
                payload["worker_id"]!.GetValue<ulong>(),
                payload["dp_rank"]!.GetValue<uint>(),
                payload["kv_used_blocks"]!.GetValue<long>()
            );
            Assert.Equal(item["payload_hex"]!.GetValue<string>(), Convert.ToHexStringLower(output.WrittenSpan));
        }
    }

    [Fact]
    public void First_token_events_equal_the_reference()
    {
        var items = JsonNode
            .Parse(Golden.Text("kv/dynamo-vllm-eventplane.json"))!
            .AsArray()
            .Where(item => item!["topic"]!.GetValue<string>() == "active_sequences_events")
            .ToList();
        Assert.NotEmpty(items);
        foreach (var item in items)
        {
            var output = new ArrayBufferWriter<byte>();
            var events = item!["payload"]!["events"]!.AsArray();
            SequenceEventEncoder.WriteBatchHeader(output, events.Count);
            foreach (var entry in events)
            {
                SequenceEventEncoder.WriteEvent(
                    output,
                    entry!["request_id"]!.GetValue<string>(),
                    entry["worker"]!["worker_id"]!.GetValue<ulong>(),
                    entry["worker"]!["dp_rank"]!.GetValue<uint>()
                );
            }

            Assert.Equal(item["payload_hex"]!.GetValue<string>(), Convert.ToHexStringLower(output.WrittenSpan));
        }
    }

    [Fact]
    public void Subjects_and_keys_equal_the_reference()
    {
        var topic = new EventTopic(new EndpointId("nsx", "back-end", "gen_1"), EventTopics.KvEvents, new PublisherId(0x0d80f8db598822));
        var captured = JsonNode.Parse(Golden.Text("kv/eventplane-nats.json"))!.AsArray()[0]!["subject"]!.GetValue<string>();
        Assert.Equal(captured, topic.Subject);
        Assert.Equal("namespace/nsx/component/back-end/endpoint/gen_1/topic/kv-events/d80f8db598822", topic.Key);
        Assert.Equal("a%2Fb%20c", EventTopic.Escape("a/b c"));
    }

    [Fact]
    public void Records_equal_the_reference()
    {
        var topic = new EventTopic(
            new EndpointId("dynamo", "backend", "generate"),
            EventTopics.KvEvents,
            new PublisherId(2518526831293224)
        );
        var channel = EventRecords.Channel(
            topic,
            new JsonObject
            {
                ["kind"] = "Zmq",
                ["config"] = new JsonObject { ["endpoint"] = "tcp://192.0.2.2:46103" },
            }
        );
        Assert.Equal(
            "v1/event_channels/namespace/dynamo/component/backend/endpoint/generate/topic/kv-events/8f2963922f328",
            channel.FullKey
        );
        Assert.Equal(
            """{"type":"EventChannel","scope":{"kind":"endpoint","endpoint":{"namespace":"dynamo","component":"backend","name":"generate"}},"topic":"kv-events","instance_id":2518526831293224,"transport":{"kind":"Zmq","config":{"endpoint":"tcp://192.0.2.2:46103"}}}""",
            channel.Value.ToJsonString()
        );
        var worker = new InstanceId(826349100099575620);
        var query = new EndpointId("dynamo", "backend", "worker_kv_query_source_8f2963922f328");
        var recovery = DiscoveryRecord.EndpointValue(
            query,
            worker,
            TransportAddress.Tcp("127.0.0.1:38583", worker, query),
            "cuda",
            PayloadCodec.MessagePack
        );
        Assert.Equal(
            """{"type":"EventSource","scope":{"kind":"endpoint","endpoint":{"namespace":"dynamo","component":"backend","name":"generate"}},"topic":"kv-events","publisher_id":2518526831293224,"metadata":{"kv_state_endpoint":{"namespace":"dynamo","component":"backend","name":"generate"},"worker":{"worker_id":826349100099575620,"dp_rank":0},"publisher_id":2518526831293224,"recovery_target":{"component":"backend","endpoint":"worker_kv_query_source_8f2963922f328","namespace":"dynamo","instance_id":826349100099575620,"transport":{"tcp":"127.0.0.1:38583/b77c820dbe61f44/dynamo/backend/worker_kv_query_source_8f2963922f328"},"device_type":"cuda","request_plane_codec":"msgpack"}}}""",
            EventRecords.Source(topic, worker, 0, recovery).Value.ToJsonString()
        );
    }

    [Fact]
    public void Recovery_answers_equal_the_reference_byte_for_byte()
    {
        var cases = JsonNode.Parse(Golden.Text("kv/kv-query-official.json"))!.AsArray();
        var worker = cases[0]!["request"]!["worker_id"]!.GetValue<ulong>();
        var pipeline = new KvPipeline(new KvEventConversion(4), worker);
        foreach (var events in RecoveryHistory.Events())
        {
            pipeline.Append(events);
        }

        foreach (var item in cases.Where(item => !item!["case"]!.GetValue<string>().StartsWith("wrong", StringComparison.Ordinal)))
        {
            var query = KvQuery.Parse(Convert.FromHexString(item!["request_hex"]!.GetValue<string>()), PayloadCodec.MessagePack);
            var output = new ArrayBufferWriter<byte>();
            ResponseEncoder.WriteBareValue(output, Convert.FromHexString(pipeline.Ask(query)));
            Assert.Equal(
                (item["case"]!.GetValue<string>(), item["frames"]![2]!["data_hex"]!.GetValue<string>()),
                (item["case"]!.GetValue<string>(), Convert.ToHexStringLower(output.WrittenSpan))
            );
        }
    }

    [Fact]
    public void A_query_in_json_means_the_same()
    {
        var item = JsonNode.Parse(Golden.Text("kv/kv-query-official.json"))!.AsArray()[1]!;
        Assert.Equal(
            KvQuery.Parse(Convert.FromHexString(item["request_hex"]!.GetValue<string>()), PayloadCodec.MessagePack),
            KvQuery.Parse(Encoding.UTF8.GetBytes(item["request"]!.ToJsonString()), PayloadCodec.Json)
        );
    }

    private static byte[] Rebuild(ReadOnlySpan<byte> envelope, out PublisherId publisher, out ulong sequence, out string topic)
    {
        var reader = new MessagePackReader(envelope);
        Assert.Equal(5, reader.ReadMapHeader());
        reader.Skip();
        publisher = new PublisherId(reader.ReadUInt64());
        reader.Skip();
        sequence = reader.ReadUInt64();
        reader.Skip();
        var publishedAt = reader.ReadInt64();
        reader.Skip();
        topic = reader.ReadString();
        reader.Skip();
        var output = new ArrayBufferWriter<byte>();
        EventEnvelope.Write(output, publisher, sequence, publishedAt, Encoding.UTF8.GetBytes(topic), reader.ReadBinary());
        return output.WrittenSpan.ToArray();
    }
}
