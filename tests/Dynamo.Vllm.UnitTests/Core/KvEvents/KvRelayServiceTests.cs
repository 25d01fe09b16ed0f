using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.KvEvents;
using Dynamo.Vllm.Core.Metrics;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Protocol.KvEvents;
using Dynamo.Vllm.Protocol.MessagePack;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Relay;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using Prometheus;

namespace Dynamo.Vllm.UnitTests.Core.KvEvents;

public sealed class KvRelayServiceTests : IAsyncDisposable
{
    private const string RankZero = "tcp://127.0.0.1:5557";

    private readonly FakeTimeProvider _time = new(DateTimeOffset.FromUnixTimeSeconds(100));
    private readonly CollectorRegistry _registry = Prometheus.Metrics.NewCustomRegistry();
    private readonly RecordingDiscovery _discovery = new();
    private readonly WorkerRegistration _registration;
    private readonly EventPlaneFake _plane = new();
    private EngineFake _engine = null!;
    private KvRelayService? _service;

    public KvRelayServiceTests() =>
        _registration = new WorkerRegistration(
            _discovery,
            new RequestPlaneFake(),
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

        await _registration.DisposeAsync();
    }

    [Fact]
    public async Task Every_rank_has_its_own_publisher_and_endpoint()
    {
        var feed = new EngineEventFeedFake();
        await StartAsync(feed, new KvRelayOptions { PublishesFirstTokens = false, PublishesLoad = false }, start: 2, ranks: 2);
        Assert.Equal(["tcp://127.0.0.1:5559", "tcp://127.0.0.1:5560"], feed.Endpoints.Order(StringComparer.Ordinal));
        var ranks = _discovery
            .Records.Values.Where(record => record.Bucket == DiscoveryRecord.EventSources)
            .Select(record => record.Value["metadata"]!["worker"]!["dp_rank"]!.GetValue<int>());
        Assert.Equal([2, 3], ranks.Order());
        Assert.Equal(
            2,
            _discovery.Records.Values.Count(record => record.Key.Contains("worker_kv_query_source_", StringComparison.Ordinal))
        );
        Assert.All(
            _discovery.Records.Values.Where(record => record.Bucket == DiscoveryRecord.EventChannels),
            record => Assert.True(record.Value["instance_id"]!.GetValue<ulong>() < 1UL << 53)
        );
    }

    [Fact]
    public async Task Batches_of_another_rank_are_dropped()
    {
        var feed = new EngineEventFeedFake();
        await StartAsync(feed, new KvRelayOptions { PublishesFirstTokens = false, PublishesLoad = false });
        await feed.SendAsync(
            RankZero,
            0,
            Convert.FromHexString("93cb3ff800000000000091" + "82a474797065ac426c6f636b52656d6f766564ac626c6f636b5f6861736865739107" + "03")
        );
        await feed.SendAsync(
            RankZero,
            1,
            Convert.FromHexString("93cb3ff800000000000091" + "82a474797065ac426c6f636b52656d6f766564ac626c6f636b5f6861736865739108" + "00")
        );
        Assert.Equal(8, (await NextPayloadAsync())[0]!["event"]!["data"]!["removed"]!["block_hashes"]![0]!.GetValue<int>());
        Assert.Contains(
            "dynamo_vllm_kv_relay_batches_total{dp_rank=\"0\",outcome=\"other_rank\"} 1",
            await MetricsAsync(),
            StringComparison.Ordinal
        );
    }

    [Fact]
    public async Task A_transport_that_fails_leaves_a_hole_and_the_relay_goes_on()
    {
        var feed = new EngineEventFeedFake();
        await StartAsync(feed, new KvRelayOptions { PublishesFirstTokens = false, PublishesLoad = false });
        var removal = Convert.FromHexString("93cb3ff80000000000009182a474797065ac426c6f636b52656d6f766564ac626c6f636b5f686173686573910700");
        _plane.Failure = new IOException("no route");
        await feed.SendAsync(RankZero, 0, removal);
        _plane.Failure = null;
        await feed.SendAsync(RankZero, 1, removal);
        var message = await _plane.NextAsync();
        Assert.Equal(1UL, message.Sequence);
        Assert.Contains("dynamo_vllm_event_messages_failed_total{topic=\"kv-events\"} 1", await MetricsAsync(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Blocks_without_events_raise_the_alarm_once()
    {
        await StartAsync(
            new EngineEventFeedFake { Connects = false },
            new KvRelayOptions
            {
                PublishesFirstTokens = false,
                PublishesLoad = false,
                ConnectTimeout = TimeSpan.Zero,
            }
        );
        _engine.Report(new EngineLoad(0, 0.01, 1, 0)); // one block: maybe a partial one
        await PassAsync(30);
        Assert.Contains("dynamo_vllm_kv_relay_silent_total{dp_rank=\"0\"} 0", await MetricsAsync(), StringComparison.Ordinal);
        _engine.Report(new EngineLoad(0, 0.2, 1, 0));
        await PassAsync(60);
        Assert.Contains("dynamo_vllm_kv_relay_silent_total{dp_rank=\"0\"} 1", await MetricsAsync(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Load_starts_with_zero_and_repeats_nothing()
    {
        await StartAsync(new EngineEventFeedFake(), new KvRelayOptions { RelaysKvEvents = false, PublishesFirstTokens = false });
        Assert.Equal(0, (await NextPayloadAsync())["kv_used_blocks"]!.GetValue<int>());
        _engine.Report(new EngineLoad(0, 0.059, 1, 0)); // 5.9 blocks are 5
        await PassAsync(1);
        Assert.Equal(5, (await NextPayloadAsync())["kv_used_blocks"]!.GetValue<int>());
        _engine.Report(new EngineLoad(0, 0.055, 1, 0)); // 5 again
        _engine.Report(new EngineLoad(0, 0.07, 1, 0));
        await PassAsync(1);
        Assert.Equal(7, (await NextPayloadAsync())["kv_used_blocks"]!.GetValue<int>());
    }

    [Fact]
    public async Task First_tokens_beyond_the_queue_are_counted_and_lost()
    {
        _service = Create(new EngineEventFeedFake(), new KvRelayOptions { RelaysKvEvents = false, PublishesLoad = false }, 0, 1);
        for (var i = 0; i < 5000; i++)
        {
            _service.FirstTokens!.NotifyFirstToken($"r{i}", 0); // not started yet, so nobody takes them
        }

        Assert.Contains("dynamo_vllm_first_token_events_dropped_total 904", await MetricsAsync(), StringComparison.Ordinal);
        await _registration.JoinAsync(CancellationToken.None);
        await _service.StartAsync(CancellationToken.None);
        for (var sent = 0; sent < 4096; )
        {
            var batch = (await NextPayloadAsync())["events"]!.AsArray().Count;
            Assert.InRange(batch, 1, 256);
            sent += batch;
        }
    }

    [Fact]
    public async Task Forward_pass_metrics_go_on_unchanged_for_each_rank()
    {
        var feed = new EngineEventFeedFake();
        await StartAsync(
            feed,
            new KvRelayOptions
            {
                RelaysKvEvents = false,
                PublishesFirstTokens = false,
                PublishesLoad = false,
                ForwardPassPort = 20380,
            },
            start: 1,
            ranks: 2
        );
        await feed.SubscribedAsync();
        await feed.SubscribedAsync();
        Assert.Equal(["tcp://127.0.0.1:20381", "tcp://127.0.0.1:20382"], feed.Endpoints.Order(StringComparer.Ordinal));
        Assert.Equal(2, _discovery.Records.Keys.Count(key => key.Contains("/topic/forward-pass-metrics/", StringComparison.Ordinal)));
        var captured = Golden.Bytes("kv/zmq-direct-forward-pass-metrics.frame3.bin");
        var sent = PayloadOf(captured.AsSpan(EventEnvelope.FrameHeaderBytes));
        await feed.SendAsync("tcp://127.0.0.1:20382", 7, sent);
        var message = await _plane.NextAsync();
        Assert.Equal(EventTopics.ForwardPassMetrics, message.Topic.Name);
        Assert.Equal(0UL, message.Sequence); // of this publisher, whatever the engine counts
        Assert.Equal(sent, PayloadOf(message.Envelope));
    }

    [Fact]
    public async Task A_start_that_fails_half_way_leaves_nothing_behind()
    {
        var plane = new ThrowingPlane(_plane, EventTopics.KvMetrics);
        _service = Create(new EngineEventFeedFake(), new KvRelayOptions(), 0, 1, plane);
        await _registration.JoinAsync(CancellationToken.None);
        await Assert.ThrowsAsync<InvalidOperationException>(() => _service.StartAsync(CancellationToken.None));
        Assert.NotEmpty(_discovery.Records);
        await _service.StopAsync(CancellationToken.None);
        Assert.Empty(_discovery.Records);
    }

    private async Task StartAsync(EngineEventFeedFake feed, KvRelayOptions options, int start = 0, int ranks = 1)
    {
        _service = Create(feed, options, start, ranks);
        await _registration.JoinAsync(CancellationToken.None);
        await _service.StartAsync(CancellationToken.None);
    }

    private KvRelayService Create(EngineEventFeedFake feed, KvRelayOptions options, int start, int ranks, IEventPlane? plane = null)
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
                DataParallelStart = start,
                DataParallelSize = ranks,
                KvEventsEndpoint = "tcp://*:5557",
            }
        );
        return new KvRelayService(
            options,
            _engine,
            new EndpointId("dynamo", "backend", "generate"),
            _registration,
            plane ?? _plane,
            feed,
            new RuntimeMetrics(_registry, "abc"),
            _time,
            NullLogger<KvRelayService>.Instance
        );
    }

    /// <summary>Lets time pass in steps, and the loops run on the pool after
    /// each. They give no sign when nothing happens (against style T2).</summary>
    private async Task PassAsync(int seconds)
    {
        for (var i = 0; i < seconds * 10; i++)
        {
            _time.Advance(TimeSpan.FromMilliseconds(100));
            await Task.Yield();
            await Task.Delay(1);
        }
    }

    private async Task<JsonNode> NextPayloadAsync()
    {
        var next = _plane.NextAsync();
        while (!next.IsCompleted)
        {
            _time.Advance(TimeSpan.FromMilliseconds(1));
            await Task.WhenAny(next, Task.Delay(1));
        }

        return Decode((await next).Envelope);
    }

    private static JsonNode Decode(byte[] envelope)
    {
        var payload = new MessagePackReader(PayloadOf(envelope));
        return JsonNode.Parse(MessagePackJson.ReadAsJson(ref payload))!;
    }

    private static byte[] PayloadOf(ReadOnlySpan<byte> envelope)
    {
        var reader = new MessagePackReader(envelope);
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

    private async Task<string> MetricsAsync()
    {
        using var stream = new MemoryStream();
        await _registry.CollectAndExportAsTextAsync(stream);
        return System.Text.Encoding.UTF8.GetString(stream.ToArray());
    }

    private sealed class ThrowingPlane : IEventPlane
    {
        private readonly IEventPlane _plane;
        private readonly string _topic;

        public ThrowingPlane(IEventPlane plane, string topic)
        {
            _plane = plane;
            _topic = topic;
        }

        public string Name => _plane.Name;

        public bool BatchesSequences => true;

        public ValueTask<IEventPublisher> OpenAsync(EventTopic topic, CancellationToken cancellationToken) =>
            topic.Name == _topic ? throw new InvalidOperationException("no port is left") : _plane.OpenAsync(topic, cancellationToken);

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }
}
