using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Servers;
using Dynamo.Vllm.Transports.Client;
using Dynamo.Vllm.Transports.Discovery;
using Dynamo.Vllm.Transports.Etcd;
using Microsoft.Extensions.Logging.Abstractions;

namespace Dynamo.Vllm.IntegrationTests.Zmq;

/// <summary>The worker as a process with DYN_ZMQ_BROKER_ENABLED; the broker is libzmq's own proxy, which a record names.</summary>
public sealed class BrokerDiscoveryTests
{
    private const string EventsApplied = "dynamo_component_kv_cache_events_applied";

    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(1);

    private readonly string _xsub = $"tcp://127.0.0.1:{FreePorts.Next()}";
    private readonly string _xpub = $"tcp://127.0.0.1:{FreePorts.Next()}";

    [PeerFact]
    public async Task The_official_router_hears_the_worker_through_the_broker_also_after_the_broker_died()
    {
        using var store = new TemporaryFolder();
        var variables = Peers.Variables(store.Path);
        variables["DYN_ZMQ_BROKER_ENABLED"] = "true";
        await using var discovery = new FileDiscovery(store.Path, TimeProvider.System, NullLogger<FileDiscovery>.Instance);
        await RegisterAsync(discovery);
        var broker = ZmqPeer.Start("proxy", _xsub, _xpub);
        try
        {
            await broker.ReadAsync("broker");
            await using var frontend = Frontend.Start(variables, "--router-mode", "kv");
            await using var worker = StartWorker(store.Path, variables);
            await worker.ReadyAsync(Limit);
            await frontend.ServesAsync("tiny", Limit);
            await AssertEventsArriveAsync(frontend, 0);
            // Only the broker's own channel.
            Assert.Empty(Directory.GetFiles(Path.Combine(store.Path, DiscoveryRecord.EventChannels), "*backend*"));

            await broker.DisposeAsync();
            await worker.Process.LineAsync("No connection to the event broker", Limit);
            broker = ZmqPeer.Start("proxy", _xsub, _xpub);
            await broker.ReadAsync("broker");
            await AssertEventsArriveAsync(frontend, 100);
        }
        finally
        {
            await broker.DisposeAsync();
        }
    }

    [PeerFact]
    public async Task A_broker_in_etcd_gets_the_events_under_their_subject()
    {
        using var store = new TemporaryFolder();
        await using var etcd = await EtcdServer.StartAsync();
        await using var discovery = new EtcdDiscovery(
            new EtcdOptions { Endpoints = [etcd.Url] },
            TimeProvider.System,
            NullLogger<EtcdDiscovery>.Instance
        );
        await RegisterAsync(discovery);
        await using var broker = ZmqPeer.Start("proxy", _xsub, _xpub);
        await broker.ReadAsync("broker");
        await using var subscriber = ZmqPeer.Start("sub", _xpub, "namespace.dynamo.component.backend.endpoint.generate.kv_metrics");
        var variables = Peers.Variables(store.Path);
        variables["DYN_DISCOVERY_BACKEND"] = "etcd";
        variables["ETCD_ENDPOINTS"] = etcd.Url;
        variables["DYN_ZMQ_BROKER_ENABLED"] = "1";
        await using var worker = StartWorker(store.Path, variables);
        await worker.ReadyAsync(Limit);
        await worker.Process.LineAsync("Connected to the event broker", Limit);
        var reading = subscriber.ReadFramesAsync();
        while (!reading.IsCompleted)
        {
            // Load is published when it changes. Asked again, since nothing tells when a subscription has passed through the broker.
            var records = (await etcd.ReadAsync("v1/instances/")).Values;
            await CallAsync(records.First(record => record.Contains("\"endpoint\":\"generate\"", StringComparison.Ordinal)));
        }

        var frames = await reading;
        Assert.Equal("namespace.dynamo.component.backend.endpoint.generate.kv_metrics", Encoding.UTF8.GetString(frames[0]));
        Assert.Equal(4, frames.Length);
    }

    [PeerFact]
    public async Task Without_a_registered_broker_the_worker_ends_with_one_line()
    {
        using var store = new TemporaryFolder();
        await using var worker = StartWorker(store.Path, new Dictionary<string, string> { ["DYN_ZMQ_BROKER_ENABLED"] = "true" });
        Assert.Equal(1, await worker.Process.ExitCodeAsync(Limit));
        await worker.Process.LineAsync(
            "error: DYN_ZMQ_BROKER_ENABLED is set and no broker is registered for namespace 'dynamo' in File discovery: start the "
                + "broker first",
            Limit
        );
        Assert.Empty(Directory.GetFiles(store.Path, "*", SearchOption.AllDirectories));
    }

    private static WorkerProcess StartWorker(string store, IReadOnlyDictionary<string, string> variables) =>
        WorkerProcess.StartSimulated(
            store,
            ["--block-size", "16", "--simulated-step-time-ms", "5", .. KvEventFlags.OnFreePort()],
            variables
        );

    /// <summary>As the reference's broker does.</summary>
    private async Task RegisterAsync(IDiscovery discovery)
    {
        await discovery.JoinAsync(default);
        var channel = new JsonObject
        {
            ["type"] = "EventChannel",
            ["scope"] = new JsonObject
            {
                ["kind"] = "component",
                ["namespace"] = "dynamo",
                ["component"] = "zmq_broker",
            },
            ["topic"] = "broker",
            ["instance_id"] = 7,
            ["transport"] = new JsonObject
            {
                ["kind"] = "ZmqBroker",
                ["config"] = new JsonObject { ["xsub_endpoints"] = new JsonArray(_xsub), ["xpub_endpoints"] = new JsonArray(_xpub) },
            },
        };
        await discovery.RegisterAsync(
            new DiscoveryRecord(DiscoveryRecord.EventChannels, "namespace/dynamo/component/zmq_broker/topic/broker/7", channel),
            default
        );
    }

    private static async Task CallAsync(string record)
    {
        var address = JsonNode.Parse(record)!["transport"]!["tcp"]!.GetValue<string>();
        await using var client = await WorkerClient.ConnectAsync(address, PayloadCodec.MessagePack, default);
        var body = """{"token_ids":[5,6,7],"stop_conditions":{"max_tokens":2},"sampling_options":{}}"""u8.ToArray();
        await using var call = await client.CallAsync(body, default);
        Assert.NotEmpty(await call.ReadAsync(default).ToListAsync());
        Assert.True(call.IsComplete);
    }

    /// <summary>Prompts that nobody has are sent until the router has applied more events than before; each stores blocks.</summary>
    private static async Task AssertEventsArriveAsync(Frontend frontend, int firstPrompt)
    {
        var before = await frontend.MetricAsync(EventsApplied, "status=\"ok\"");
        var number = firstPrompt;
        await frontend.WaitAsync(
            "no event is applied",
            Limit,
            async () =>
            {
                var prompt = string.Join(' ', Enumerable.Repeat((number++).ToString(CultureInfo.InvariantCulture), 60));
                await frontend.CompleteAsync(
                    new JsonObject
                    {
                        ["model"] = "tiny",
                        ["prompt"] = prompt,
                        ["max_tokens"] = 2,
                    }
                );
                return await frontend.MetricAsync(EventsApplied, "status=\"ok\"") >= before + 3;
            }
        );
    }
}
