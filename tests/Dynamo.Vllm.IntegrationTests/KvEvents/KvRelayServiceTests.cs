using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.KvEvents;
using Dynamo.Vllm.Core.Metrics;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.IntegrationTests.Zmq;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Protocol.MessagePack;
using Dynamo.Vllm.Testing.Relay;
using Dynamo.Vllm.Transports;
using Dynamo.Vllm.Transports.Zmq;
using Microsoft.Extensions.Logging.Abstractions;
using Prometheus;

namespace Dynamo.Vllm.IntegrationTests.KvEvents;

using Dynamo.Vllm.Testing;

/// <summary>The whole relay between libzmq sockets: a publisher in the engine's place, subscribers in the router's.</summary>
public sealed class KvRelayServiceTests : IAsyncDisposable
{
    private static readonly EndpointId Generate = new("dynamo", "backend", "generate");

    private readonly RecordingDiscovery _discovery = new();
    private readonly RequestPlaneFake _requests = new();
    private readonly CollectorRegistry _registry = Prometheus.Metrics.NewCustomRegistry();
    private readonly WorkerRegistration _registration;
    private readonly ZmqEventPlane _plane = new(
        "127.0.0.1",
        null,
        ConnectionCap.Unlimited,
        TimeProvider.System,
        NullLogger<ZmqEventPlane>.Instance
    );
    private KvRelayService? _service;
    private EngineFake? _engine;

    public KvRelayServiceTests() =>
        _registration = new WorkerRegistration(
            _discovery,
            _requests,
            "cpu",
            PayloadCodec.MessagePack,
            TimeProvider.System,
            NullLogger<WorkerRegistration>.Instance
        );

    public async ValueTask DisposeAsync()
    {
        if (_service is not null)
        {
            await _service.DisposeAsync();
        }

        await _plane.DisposeAsync();
        await _registration.DisposeAsync();
    }

    [PeerFact]
    public async Task Batches_of_the_engine_reach_a_router_as_the_reference_would_send_them()
    {
        await using var engine = ZmqPeer.Start("xpub");
        await StartAsync((await engine.ReadAsync("endpoint")).GetValue<string>());
        await engine.ReadAsync("subscribed");
        await using var router = await SubscribeAsync("kv-events");
        var golden = JsonNode.Parse(File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "golden/kv/conversion-cases.json")))!;
        var sequence = 0UL;
        foreach (var item in golden["cases"]!.AsArray().Where(item => item!["output_messages"]!.AsArray().Count > 0).Take(10))
        {
            await engine.SendAsync([], Bytes(sequence), Convert.FromHexString(item!["input_frames_hex"]![2]!.GetValue<string>()));
            var frames = await router.ReadFramesAsync();
            var events = Decode(Payload(frames[3]));
            var expected = item["output_messages"]![0]!["events"]!.DeepClone();
            foreach (var entry in expected.AsArray())
            {
                entry!["worker_id"] = _registration.Instance.Value;
            }

            Assert.True(JsonNode.DeepEquals(expected, events), item["label"]!.GetValue<string>());
            Assert.Equal(Bytes(sequence), frames[2]);
            sequence++;
        }

        var metrics = await MetricsAsync();
        Assert.Contains(
            "dynamo_component_kv_publisher_zmq_events_total{dynamo_component=\"backend\",dynamo_namespace=\"dynamo\","
                + "event_type=\"stored\",stage=\"accepted\",worker_id=\"abc\"} 10",
            metrics,
            StringComparison.Ordinal
        );
        Assert.Contains(
            "dynamo_component_kv_publisher_engines_dropped_events_total{dynamo_component=\"backend\",dynamo_namespace=\"dynamo\","
                + "worker_id=\"abc\"} 0",
            metrics,
            StringComparison.Ordinal
        );
        Assert.Contains("dynamo_vllm_kv_relay_lag_seconds_count{dp_rank=\"0\"} 10", metrics, StringComparison.Ordinal);
    }

    [PeerFact]
    public async Task Lost_batches_are_counted_and_the_rest_goes_on()
    {
        await using var engine = ZmqPeer.Start("xpub");
        await StartAsync((await engine.ReadAsync("endpoint")).GetValue<string>());
        await engine.ReadAsync("subscribed");
        await using var router = await SubscribeAsync("kv-events");
        await engine.SendAsync([], Bytes(0), Removed(1));
        await engine.SendAsync([], Bytes(4), Removed(2)); // 1 to 3 are missing
        await engine.SendAsync([], Bytes(5), [0xc1]);
        await engine.SendAsync([], [1, 2], Removed(3));
        await engine.SendAsync([], Bytes(6), Removed(4));
        Assert.Equal(1UL, await NextHashAsync(router));
        Assert.Equal(2UL, await NextHashAsync(router));
        Assert.Equal(4UL, await NextHashAsync(router));
        var metrics = await MetricsAsync();
        Assert.Contains(
            "engines_dropped_events_total{dynamo_component=\"backend\",dynamo_namespace=\"dynamo\",worker_id=\"abc\"} 3",
            metrics,
            StringComparison.Ordinal
        );
        Assert.Contains("dynamo_vllm_kv_relay_gaps_total{dp_rank=\"0\"} 1", metrics, StringComparison.Ordinal);
        Assert.Contains("dynamo_vllm_kv_relay_batches_total{dp_rank=\"0\",outcome=\"malformed\"} 2", metrics, StringComparison.Ordinal);
    }

    [PeerFact]
    public async Task An_engine_that_starts_over_is_cleared_first()
    {
        await using var engine = ZmqPeer.Start("xpub");
        await StartAsync((await engine.ReadAsync("endpoint")).GetValue<string>());
        await engine.ReadAsync("subscribed");
        await using var router = await SubscribeAsync("kv-events");
        await engine.SendAsync([], Bytes(0), Removed(1));
        await engine.SendAsync([], Bytes(1), Removed(2));
        await engine.SendAsync([], Bytes(0), Removed(3));
        await NextHashAsync(router);
        await NextHashAsync(router);
        var events = Decode(Payload((await router.ReadFramesAsync())[3]))!.AsArray();
        Assert.Equal("cleared", events[0]!["event"]!["data"]!.GetValue<string>());
        Assert.Equal(3, events[1]!["event"]!["data"]!["removed"]!["block_hashes"]![0]!.GetValue<int>());
    }

    [PeerFact]
    public async Task Records_appear_in_the_order_of_the_reference_and_go_in_reverse()
    {
        await using var engine = ZmqPeer.Start("xpub");
        await StartAsync((await engine.ReadAsync("endpoint")).GetValue<string>(), ranks: 1);
        var started = Short(_discovery.Steps);
        Assert.Equal(
            [
                "+event_channels kv-events",
                "+instances query",
                "+event_sources kv-events",
                "+event_channels kv_metrics",
                "+event_channels active_sequences_events",
            ],
            started
        );
        var source = _discovery.Records.Values.Single(record => record.Bucket == DiscoveryRecord.EventSources).Value;
        var target = source["metadata"]!["recovery_target"]!;
        var instance = _discovery.Records.Values.Single(record => record.Bucket == DiscoveryRecord.Instances).Value.DeepClone().AsObject();
        instance.Remove("type");
        Assert.True(JsonNode.DeepEquals(instance, target));
        _discovery.Steps.Clear();
        await _service!.StopAsync(CancellationToken.None);
        Assert.Equal(
            [
                "-event_channels active_sequences_events",
                "-event_channels kv_metrics",
                "-event_sources kv-events",
                "-instances query",
                "-event_channels kv-events",
            ],
            Short(_discovery.Steps)
        );
        Assert.Empty(_discovery.Records);
        await _service.StopAsync(CancellationToken.None);
    }

    [PeerFact]
    public async Task Queries_are_answered_and_a_new_identity_is_told_in_a_dump()
    {
        await using var engine = ZmqPeer.Start("xpub");
        await StartAsync((await engine.ReadAsync("endpoint")).GetValue<string>());
        await engine.ReadAsync("subscribed");
        await using var router = await SubscribeAsync("kv-events");
        var golden = JsonNode.Parse(File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "golden/kv/conversion-cases.json")))!;
        await engine.SendAsync([], Bytes(0), Convert.FromHexString(golden["cases"]![0]!["input_frames_hex"]![2]!.GetValue<string>()));
        await router.ReadFramesAsync();
        Assert.NotNull((await AskAsync(_registration.Instance.Value, 1))["Events"]);
        Assert.NotNull((await AskAsync(_registration.Instance.Value, null))["TreeDump"]);
        Assert.Equal(
            $"WorkerKvQueryEngine::generate worker_id mismatch: request.worker_id=1 this.worker_id={_registration.Instance.Value}",
            (await AskAsync(1, null))["Error"]!.GetValue<string>()
        );
        _discovery.Lose(new InstanceId(77));
        await _registration.RemoveAsync("nothing", CancellationToken.None); // in turn: after the move
        var answer = await AskAsync(77, 1);
        Assert.Equal(77, answer["TreeDump"]!["events"]![0]!["worker_id"]!.GetValue<int>());
        Assert.Equal(1, answer["TreeDump"]!["last_event_id"]!.GetValue<int>());
        Assert.Contains(
            _discovery.Records.Values,
            record =>
                record.Value["metadata"]?["recovery_target"]?["instance_id"]?.GetValue<ulong>() == 77
                && record.Value["metadata"]!["recovery_target"]!["transport"]!["tcp"]!
                    .GetValue<string>()
                    .Contains("/4d/", StringComparison.Ordinal)
        );
    }

    [PeerFact]
    public async Task Load_is_sent_when_it_changes_and_the_newest_value_wins()
    {
        await StartAsync(null, ranks: 2);
        await using var router = await SubscribeAsync("kv_metrics", 1);
        for (var i = 1; i <= 50; i++)
        {
            _engine!.Report(new EngineLoad(1, i / 100.0, 1, 0));
        }

        JsonNode load;
        var messages = 0;
        do
        {
            load = Decode(Payload((await router.ReadFramesAsync())[3]))!;
            messages++;
        } while (load["kv_used_blocks"]!.GetValue<int>() != 50);
        Assert.InRange(messages, 1, 3); // gathered for 1 ms; a slow machine may cut the burst once or twice
        Assert.Equal(1, load["dp_rank"]!.GetValue<int>());
        Assert.Null(load["active_decode_blocks"]);
    }

    [PeerFact]
    public async Task First_tokens_are_sent_in_batches()
    {
        await StartAsync(null);
        await using var router = await SubscribeAsync("active_sequences_events");
        _service!.FirstTokens!.NotifyFirstToken("request-a", 0);
        _service.FirstTokens.NotifyFirstToken("request-b", 0);
        var ids = new List<string>();
        while (ids.Count < 2)
        {
            ids.AddRange(
                Decode(Payload((await router.ReadFramesAsync())[3]))!["events"]!
                    .AsArray()
                    .Select(entry => entry!["request_id"]!.GetValue<string>())
            );
        }

        Assert.Equal(["request-a", "request-b"], ids);
    }

    private static List<string> Short(IEnumerable<string> steps) =>
        [
            .. steps.Select(step =>
                step[0]
                + (
                    step.Contains("worker_kv_query_source_", StringComparison.Ordinal)
                        ? "instances query"
                        : $"{step.Split('/')[1]} {step.Split('/')[^2]}"
                )
            ),
        ];

    private static byte[] Bytes(ulong value)
    {
        var bytes = BitConverter.GetBytes(value);
        Array.Reverse(bytes);
        return bytes;
    }

    private static byte[] Removed(int hash)
    {
        var output = new System.Buffers.ArrayBufferWriter<byte>();
        MessagePackJson.WriteMessagePack(
            Encoding.UTF8.GetBytes($$"""[1.5,[{"type":"BlockRemoved","block_hashes":[{{hash}}],"medium":"GPU"}],0]"""),
            output
        );
        return output.WrittenSpan.ToArray();
    }

    private static byte[] Payload(byte[] frame)
    {
        var reader = new MessagePackReader(frame.AsSpan(5));
        for (var i = reader.ReadMapHeader(); i > 0; i--)
        {
            if (reader.ReadString() == "payload")
            {
                return reader.ReadBinary().ToArray();
            }

            reader.Skip();
        }

        throw new InvalidOperationException("the envelope has no payload");
    }

    private static JsonNode? Decode(byte[] payload)
    {
        var reader = new MessagePackReader(payload);
        return JsonNode.Parse(MessagePackJson.ReadAsJson(ref reader));
    }

    private static async Task<ulong> NextHashAsync(ZmqPeer router) =>
        Decode(Payload((await router.ReadFramesAsync())[3]))![0]!["event"]!["data"]!["removed"]!["block_hashes"]![0]!.GetValue<ulong>();

    private async Task StartAsync(string? engineEndpoint, int ranks = 1)
    {
        _engine = new EngineFake(
            new EngineDescription
            {
                EngineVersion = "0.31.0",
                Model = "tiny",
                MaxModelLength = 64,
                BlockSize = 4,
                KvEventBlockSize = 4,
                MaxNumSeqs = 1,
                MaxNumBatchedTokens = 1,
                NumGpuBlocks = 100 * ranks,
                DataParallelSize = ranks,
                KvEventsEndpoint = engineEndpoint,
            }
        );
        await _registration.JoinAsync(CancellationToken.None);
        _service = new KvRelayService(
            new KvRelayOptions(),
            _engine,
            Generate,
            _registration,
            _plane,
            new ZmqEventFeed(TimeProvider.System),
            new RuntimeMetrics(_registry, "abc"),
            TimeProvider.System,
            NullLogger<KvRelayService>.Instance
        );
        await _service.StartAsync(CancellationToken.None);
    }

    private async Task<ZmqPeer> SubscribeAsync(string topic, int index = 0)
    {
        var subscribed = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var channels = _discovery.Steps.Where(step =>
            step.Contains($"/topic/{topic}/", StringComparison.Ordinal) && step.Contains("event_channels", StringComparison.Ordinal)
        );
        var record = _discovery.Records[channels.ElementAt(index)[1..]];
        _plane.Subscribed += key =>
        {
            if (record.Key == key)
            {
                subscribed.TrySetResult();
            }
        };
        var peer = ZmqPeer.Start("sub", record.Value["transport"]!["config"]!["endpoint"]!.GetValue<string>(), topic);
        await subscribed.Task.WaitAsync(TimeSpan.FromSeconds(30));
        return peer;
    }

    private async Task<JsonNode> AskAsync(ulong worker, ulong? start)
    {
        var query = new JsonObject
        {
            ["worker_id"] = worker,
            ["dp_rank"] = 0,
            ["start_event_id"] = start,
            ["end_event_id"] = null,
            ["kind"] = "recovery",
        };
        var context = new RequestContext(
            "q",
            PayloadCodec.Json,
            Encoding.UTF8.GetBytes(query.ToJsonString()),
            new Dictionary<string, string>()
        );
        var answer = new RequestPlaneFake.Answer();
        await _requests.Bound[0].Handler.HandleAsync(context, answer);
        return Decode(Assert.Single(answer.Items))!;
    }

    private async Task<string> MetricsAsync()
    {
        using var stream = new MemoryStream();
        await _registry.CollectAndExportAsTextAsync(stream);
        return Encoding.UTF8.GetString(stream.ToArray());
    }
}
