using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Logs;
using Dynamo.Vllm.Testing.Servers;
using Dynamo.Vllm.Transports.Kubernetes;

namespace Dynamo.Vllm.IntegrationTests.Kubernetes;

/// <summary>Requests compared with those of the reference.</summary>
public sealed class KubernetesRequestTests : IDisposable
{
    private readonly RecordingServer _server = new();
    private readonly TemporaryFolder _folder = new();
    private readonly LogCapture _log = new();

    public void Dispose()
    {
        _server.Dispose();
        _folder.Dispose();
    }

    [PeerFact]
    public async Task The_captured_sequence_of_changes_gives_the_captured_requests()
    {
        var captured = Golden
            .Text("runtime/kube_requests.jsonl")
            .Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Select(line => JsonNode.Parse(line)!.AsObject())
            .Where(request => (string?)request["method"] == "PATCH")
            .ToArray();
        Assert.Equal(15, captured.Length);
        await using var discovery = Create();
        Assert.Equal(1186445869714687UL, (await discovery.JoinAsync(default)).Value);
        var trial = await _server.Requests.ReadAsync(); // of our own: the server keeps nothing of it
        Assert.Equal("All", (string?)trial["query"]!["dryRun"]);
        Assert.False(_server.Requests.TryRead(out _));
        var previous = new Dictionary<string, DiscoveryRecord>();
        foreach (var expected in captured)
        {
            var next = RecordsOf(expected);
            foreach (var record in next.Where(pair => !previous.ContainsKey(pair.Key)).Select(pair => pair.Value))
            {
                await discovery.RegisterAsync(record, default);
            }

            foreach (var record in previous.Where(pair => !next.ContainsKey(pair.Key)).Select(pair => pair.Value))
            {
                await discovery.UnregisterAsync(record, default);
            }

            var actual = await _server.Requests.ReadAsync();
            foreach (var field in new[] { "method", "path", "query", "body" })
            {
                Assert.True(JsonNode.DeepEquals(expected[field], actual[field]), $"{field}: {actual[field]} instead of {expected[field]}");
            }

            Assert.StartsWith("application/apply-patch+yaml", (string?)actual["content_type"], StringComparison.Ordinal);
            Assert.True(JsonNode.DeepEquals(expected["body"]!["spec"]!["data"], discovery.Metadata));
            previous = next;
        }

        Assert.False(_server.Requests.TryRead(out _));
    }

    [PeerFact]
    public async Task A_server_in_trouble_is_asked_again()
    {
        await using var discovery = Create();
        await discovery.JoinAsync(default);
        _server.Statuses.Enqueue(503);
        _server.Statuses.Enqueue(429);
        await discovery.RegisterAsync(Record("generate"), default);
        Assert.Equal(2, _log.Lines.Count(line => line.EventId == 3704));
        Assert.Single(discovery.Metadata!["endpoints"]!.AsObject());
    }

    [PeerFact]
    public async Task A_change_that_fails_is_undone_and_not_part_of_the_next_one()
    {
        await using var discovery = Create();
        await discovery.JoinAsync(default);
        await discovery.RegisterAsync(Record("generate"), default);
        _server.Statuses.Enqueue(422);
        var exception = await Assert.ThrowsAsync<IOException>(() => discovery.RegisterAsync(Record("refused"), default));
        Assert.Contains("'worker-0' in namespace 'default': 422", exception.Message, StringComparison.Ordinal);
        Assert.Equal(["p1ns/backend/generate/7"], discovery.Metadata!["endpoints"]!.AsObject().Select(pair => pair.Key));
        await discovery.RegisterAsync(Record("other"), default);
        Assert.Equal(
            ["p1ns/backend/generate/7", "p1ns/backend/other/7"],
            discovery.Metadata!["endpoints"]!.AsObject().Select(pair => pair.Key)
        );
    }

    private static DiscoveryRecord Record(string endpoint)
    {
        var id = new EndpointId("p1ns", "backend", endpoint);
        return DiscoveryRecord.Endpoint(
            id,
            new InstanceId(7),
            TransportAddress.Tcp("127.0.0.1:1", new InstanceId(7), id),
            "cuda",
            Protocol.PayloadCodec.MessagePack
        );
    }

    private static Dictionary<string, DiscoveryRecord> RecordsOf(JsonObject request)
    {
        var buckets = new Dictionary<string, string>
        {
            ["endpoints"] = DiscoveryRecord.Instances,
            ["model_cards"] = DiscoveryRecord.ModelCards,
            ["event_channels"] = DiscoveryRecord.EventChannels,
            ["event_sources"] = DiscoveryRecord.EventSources,
        };
        var records = new Dictionary<string, DiscoveryRecord>();
        foreach (var (map, entries) in request["body"]!["spec"]!["data"]!.AsObject())
        {
            foreach (var (key, entry) in entries!.AsObject())
            {
                var value = entry!.DeepClone().AsObject();
                if (map == "event_channels")
                {
                    value.Remove("namespace"); // the older form is ours to add
                    value.Remove("component");
                }

                var record = new DiscoveryRecord(buckets[map], key, value);
                records[record.FullKey] = record;
            }
        }

        return records;
    }

    private KubernetesDiscovery Create()
    {
        var path = _folder.Write(
            "kubeconfig",
            $$$"""
            {"apiVersion":"v1","kind":"Config","current-context":"t","clusters":[{"name":"t","cluster":{"server":"{{{_server.Url}}}"}}],
             "contexts":[{"name":"t","context":{"cluster":"t","user":"t"}}],"users":[{"name":"t","user":{"token":"x"}}]}
            """
        );
        var options = new KubernetesOptions
        {
            Pod = new PodIdentity("worker-0", "poduid-1", "default", null, false),
            KubeconfigPath = path,
            RetryWaitMax = TimeSpan.FromMilliseconds(200),
        };
        return new KubernetesDiscovery(options, TimeProvider.System, _log.For<KubernetesDiscovery>());
    }
}
