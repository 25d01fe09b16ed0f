using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Logs;
using Dynamo.Vllm.Testing.Servers;
using Dynamo.Vllm.Transports.Kubernetes;

namespace Dynamo.Vllm.IntegrationTests.Kubernetes;

/// <summary>A worker's resource in a real API server, with the rights that a worker has.</summary>
public sealed partial class KubernetesDiscoveryTests : IClassFixture<KubernetesDiscoveryTests.Cluster>
{
    private const int SigCont = 18;
    private const int SigStop = 19;

    private static readonly EndpointId Generate = new("p1ns", "backend", "generate");

    private readonly KubernetesServer _server;
    private readonly LogCapture _log = new();

    public KubernetesDiscoveryTests(Cluster cluster) => _server = cluster.Server;

    [PeerFact]
    public async Task Records_appear_in_a_resource_that_belongs_to_the_pod_and_go_one_by_one()
    {
        await using var discovery = await CreateAsync("worker-0");
        var instance = await discovery.JoinAsync(default);
        Assert.Equal("43710f49c0cff", instance.Hex);
        var card = DiscoveryRecord.Model(
            Generate,
            instance,
            new JsonObject
            {
                ["display_name"] = "tiny",
                ["media_decoder"] = null,
                ["context_length"] = 0,
            }
        );
        await discovery.RegisterAsync(card, default);
        await discovery.RegisterAsync(Endpoint(instance), default);

        var stored = await _server.ReadResourceAsync("worker-0");
        Assert.True(JsonNode.DeepEquals(discovery.Metadata, stored!["spec"]!["data"]), stored.ToJsonString());
        var owner = stored["metadata"]!["ownerReferences"]![0]!;
        Assert.Equal("worker-0", (string?)owner["name"]);
        Assert.True((bool)owner["controller"]!);

        await discovery.UnregisterAsync(Endpoint(instance), default);
        stored = await _server.ReadResourceAsync("worker-0");
        // The server drops a map whose last entry is taken out; readers take a missing map for an empty one (discovery.md, 5).
        Assert.Empty(stored!["spec"]!["data"]!["endpoints"]?.AsObject() ?? []);
        Assert.Single(stored["spec"]!["data"]!["model_cards"]!.AsObject());
        await discovery.LeaveAsync(default);
        stored = await _server.ReadResourceAsync("worker-0");
        Assert.Empty(stored!["spec"]!["data"]?["model_cards"]?.AsObject() ?? []);
    }

    [PeerFact]
    public async Task A_container_deletes_the_resource_of_its_former_life_and_keeps_those_of_its_neighbours()
    {
        await using (var former = await CreateAsync("pod-1", "engine-0"))
        {
            await former.RegisterAsync(Endpoint(await former.JoinAsync(default)), default);
        }

        await using var neighbour = await CreateAsync("pod-1", "main");
        await neighbour.RegisterAsync(Endpoint(await neighbour.JoinAsync(default)), default);
        Assert.NotNull(await _server.ReadResourceAsync("pod-1-engine-0"));
        await using var discovery = await CreateAsync("pod-1", "engine-0");
        await discovery.JoinAsync(default);
        Assert.Null(await _server.ReadResourceAsync("pod-1-engine-0"));
        Assert.NotNull(await _server.ReadResourceAsync("pod-1"));
    }

    [PeerFact]
    public async Task Missing_rights_are_named_in_one_line()
    {
        await using var discovery = await CreateAsync("worker-2");
        var instance = await discovery.JoinAsync(default);
        await _server.RevokeWorkerRoleAsync();
        var exception = await Assert.ThrowsAsync<IOException>(() => UntilForbiddenAsync(discovery, Endpoint(instance)));
        Assert.Matches(
            "^kubernetes discovery cannot apply dynamoworkermetadatas.nvidia.com 'worker-2' in namespace 'default': forbidden .*bind "
                + "the service account to a role with create and patch on dynamoworkermetadatas.nvidia.com$",
            exception.Message
        );

        // A start hears it before its model loads.
        var pod = new PodIdentity("worker-6", "uid", "default", null, false);
        await using var late = Create(pod, await _server.CreateWorkerConfigurationAsync(isBound: false));
        var atStart = await Assert.ThrowsAsync<IOException>(() => late.JoinAsync(default));
        Assert.Equal(SameVerb(exception.Message).Replace("worker-2", "worker-6", StringComparison.Ordinal), SameVerb(atStart.Message));

        // With the rights given it works, without a restart.
        await _server.CreateWorkerConfigurationAsync();
        await UntilAllowedAsync(discovery, Endpoint(instance));
        Assert.NotNull(await _server.ReadResourceAsync("worker-2"));

        // An apply needs two rights where it creates, and the server may hear of a change between its two questions.
        static string SameVerb(string message) => message.Replace("cannot create", "cannot patch", StringComparison.Ordinal);
    }

    [PeerFact]
    public async Task Joining_leaves_no_resource()
    {
        await using var discovery = await CreateAsync("worker-7");
        await discovery.JoinAsync(default);
        Assert.Null(await _server.ReadResourceAsync("worker-7"));
    }

    [PeerFact]
    public async Task A_token_that_is_not_accepted_is_explained()
    {
        var path = await _server.CreateWorkerConfigurationAsync();
        var token = JsonNode.Parse(await File.ReadAllTextAsync(path))!["users"]![0]!["user"]!["token"]!.GetValue<string>();
        using var folder = new TemporaryFolder();
        var wrong = folder.Write("kubeconfig", (await File.ReadAllTextAsync(path)).Replace(token, "expired", StringComparison.Ordinal));
        await using var discovery = Create(new PodIdentity("worker-3", "uid", "default", null, false), wrong);
        var exception = await Assert.ThrowsAsync<IOException>(() => discovery.JoinAsync(default));
        Assert.Contains("does not accept the token (401)", exception.Message, StringComparison.Ordinal);
    }

    [PeerFact]
    public async Task A_stopped_api_server_delays_a_change_until_it_goes_on()
    {
        await using var discovery = await CreateAsync("worker-4");
        var instance = await discovery.JoinAsync(default);
        var retrying = _log.Next(3704, TimeSpan.FromSeconds(20));
        Assert.Equal(0, Signal(_server.ApiServerProcessId, SigStop));
        Task change;
        try
        {
            change = discovery.RegisterAsync(Endpoint(instance), default);
            Assert.Contains("no answer within 1 s", (await retrying).Text, StringComparison.Ordinal);
        }
        finally
        {
            Assert.Equal(0, Signal(_server.ApiServerProcessId, SigCont));
        }

        await change.WaitAsync(TimeSpan.FromSeconds(30));
        Assert.NotNull(await _server.ReadResourceAsync("worker-4"));
    }

    [PeerFact]
    public async Task Records_of_others_are_listed_while_their_pods_are_ready()
    {
        const string prefix = "namespace/p1ns/component/zmq_broker/";
        await using var broker = await CreateAsync("broker-0");
        var channel = new JsonObject
        {
            ["type"] = "EventChannel",
            ["topic"] = "broker",
            ["instance_id"] = 7,
        };
        await broker.JoinAsync(default);
        await broker.RegisterAsync(new DiscoveryRecord(DiscoveryRecord.EventChannels, prefix + "topic/broker/7", channel), default);
        await using var discovery = await CreateAsync("worker-5");
        await discovery.JoinAsync(default);
        Assert.Equal("broker", (string?)Assert.Single(await discovery.ListAsync(DiscoveryRecord.EventChannels, prefix, default))["topic"]);
        Assert.Empty(await discovery.ListAsync(DiscoveryRecord.EventChannels, "namespace/other/component/zmq_broker/", default));
        await _server.CreatePodAsync("broker-0", isReady: false);
        Assert.Empty(await discovery.ListAsync(DiscoveryRecord.EventChannels, prefix, default));
    }

    [LibraryImport("libc.so.6", EntryPoint = "kill")]
    private static partial int Signal(int process, int signal);

    private static DiscoveryRecord Endpoint(InstanceId instance) =>
        DiscoveryRecord.Endpoint(
            Generate,
            instance,
            TransportAddress.Tcp("127.0.0.1:1", instance, Generate),
            "cuda",
            PayloadCodec.MessagePack
        );

    /// <summary>The server learns of changed rights through a watch of its own, a moment later.</summary>
    private static async Task UntilForbiddenAsync(KubernetesDiscovery discovery, DiscoveryRecord record)
    {
        for (var tries = 0; tries < 100; tries++)
        {
            await discovery.RegisterAsync(record, default);
            await Task.Delay(50);
        }
    }

    private static async Task UntilAllowedAsync(KubernetesDiscovery discovery, DiscoveryRecord record)
    {
        for (var tries = 0; ; tries++)
        {
            try
            {
                await discovery.RegisterAsync(record, default);
                return;
            }
            catch (IOException) when (tries < 100)
            {
                await Task.Delay(50);
            }
        }
    }

    private async Task<KubernetesDiscovery> CreateAsync(string pod, string? container = null)
    {
        var uid = await _server.CreatePodAsync(pod);
        return Create(new PodIdentity(pod, uid, "default", container, false), await _server.CreateWorkerConfigurationAsync());
    }

    private KubernetesDiscovery Create(PodIdentity pod, string configuration)
    {
        var options = new KubernetesOptions
        {
            Pod = pod,
            KubeconfigPath = configuration,
            CallTimeLimit = TimeSpan.FromSeconds(1),
            RetryWaitMax = TimeSpan.FromSeconds(1),
        };
        return new KubernetesDiscovery(options, TimeProvider.System, _log.For<KubernetesDiscovery>());
    }

    public sealed class Cluster : IAsyncLifetime
    {
        private KubernetesServer? _server;

        public KubernetesServer Server => _server!; // no test runs without it

        public async Task InitializeAsync()
        {
            // The runner makes the fixture even when every test of the class is skipped.
            if (PeerFactAttribute.SkipReason is null)
            {
                _server = await KubernetesServer.StartAsync();
            }
        }

        public async Task DisposeAsync() => await (_server?.DisposeAsync() ?? ValueTask.CompletedTask);
    }
}
