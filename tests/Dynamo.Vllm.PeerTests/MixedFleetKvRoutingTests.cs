using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Transports.Client;

namespace Dynamo.Vllm.PeerTests;

/// <summary>The official router, two of our workers and an official one on real vLLM: requests go where the cache is.</summary>
[Collection(MixedFleet.Name)]
[Trait("Category", "Peers")]
public sealed class MixedFleetKvRoutingTests
{
    private const string Accepted = "dynamo_component_kv_publisher_zmq_events_total";

    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    private readonly MixedFleetFixture _fleet;

    public MixedFleetKvRoutingTests(MixedFleetFixture fleet) => _fleet = fleet;

    [PeerFact]
    public async Task A_prompt_sent_again_goes_to_the_worker_that_has_it_until_it_is_cleared()
    {
        await AllServeAsync();
        var homes = new Dictionary<int, ulong>();
        for (var i = 0; i < 20; i++)
        {
            homes[i] = (await AskAsync(Prompt("home", i))).Worker;
        }

        for (var i = 0; i < 20; i++)
        {
            await CachedAsync(Prompt("home", i));
            Assert.Equal(homes[i], (await AskAsync(Prompt("home", i))).Worker);
        }

        // All three have some, so the official worker's events and ours are understood side by side.
        Assert.Equal(3, homes.Values.Distinct().Count());
        foreach (var address in FileDirectoryReader.FindTcp(_fleet.Store, "clear_kv_blocks"))
        {
            await ClearAsync(address);
        }

        var next = 0; // each prompt can be asked for once, since that caches it again
        await _fleet.KvRouted.WaitAsync(
            "cleared prompts still count as cached",
            Limit,
            async () => (await AskAsync(Prompt("home", next++ % 20))).HitRate == 0
        );
    }

    [PeerFact]
    public async Task An_eviction_moves_a_prompt()
    {
        var (first, second) = (_fleet.InstanceOf(_fleet.First), _fleet.InstanceOf(_fleet.Second));
        var prompt = Prompt("moved", 0);
        Assert.Equal(first, (await AskAsync(prompt, first)).Worker);
        await CachedAsync(prompt);
        Assert.Equal(first, (await AskAsync(prompt)).Worker);
        Assert.Equal(second, (await AskAsync(prompt, second)).Worker);

        // 256 blocks of 32 tokens: other prompts push it out of the first worker's cache.
        var removed = await _fleet.First.MetricAsync(Accepted, "event_type=\"removed\"");
        for (var i = 0; i < 15; i++)
        {
            Assert.Equal(first, (await AskAsync(Prompt("filler", i, words: 110), first)).Worker);
        }

        Assert.True(await _fleet.First.MetricAsync(Accepted, "event_type=\"removed\"") > removed);
        await _fleet.KvRouted.WaitAsync("the prompt does not move", Limit, async () => (await AskAsync(prompt)).Worker == second);
        for (var i = 0; i < 6; i++)
        {
            Assert.Equal(second, (await AskAsync(prompt)).Worker);
        }
    }

    [PeerFact]
    public async Task A_planner_hears_forward_pass_metrics()
    {
        using var folder = new TemporaryFolder();
        var output = Path.Combine(folder.Path, "metrics.jsonl");
        await using var planner = new ChildProcess(
            "planner",
            Peers.Python,
            ["-m", "dynamo.common.recv_forward_pass_metrics", "--output", output, "--flush-interval", "0.2"],
            Peers.Variables(_fleet.Store)
        );
        await Polling.UntilAsync(
            "no forward-pass metrics arrive",
            Limit,
            () => Task.FromResult(File.Exists(output) && new FileInfo(output).Length > 0),
            () => planner.Tail
        );
        Assert.Equal(_fleet.InstanceOf(_fleet.Second), (await AskAsync(Prompt("pass", 0), _fleet.InstanceOf(_fleet.Second))).Worker);
        await Polling.UntilAsync(
            "no pass with a prefill is reported",
            Limit,
            () => Task.FromResult(Passes(output).Any(HasPrefill)),
            () => planner.Tail
        );
        Assert.All(
            Passes(output),
            pass =>
                Assert.Equal(
                    _fleet.InstanceOf(_fleet.Second).ToString(CultureInfo.InvariantCulture),
                    Find(pass, "worker_id")!.GetValue<string>()
                )
        );
    }

    [PeerFact]
    public async Task Forward_passes_are_traced_as_by_the_official_package()
    {
        using var folder = new TemporaryFolder();
        var variables = Peers.Variables(_fleet.Store);
        variables["DYN_FPM_TRACE"] = "1";
        variables["DYN_FPM_MODE"] = "full";
        variables["DYN_FPM_OUTPUT_PATH"] = Path.Combine(folder.Path, "official");
        var script = Path.Combine(SimulatedPaths.Root, "tests", "peers", "trace_passes.py");
        var engine = string.Create(CultureInfo.InvariantCulture, $"tcp://127.0.0.1:{_fleet.PassPort}");
        await using var official = new ChildProcess("official trace", Peers.Python, [script, engine], variables);
        await Polling.UntilAsync(
            "no pass with a prefill is in both traces",
            Limit,
            async () =>
            {
                await AskAsync(Prompt("traced", 0), _fleet.InstanceOf(_fleet.Second)); // the first may come before the subscription
                var seen = PassTraceFile.Read(folder.Path).Where(line => HasPrefill(line)).Select(PassTraceFile.Counter);
                return seen.Intersect(PassTraceFile.Read(_fleet.Traces).Select(PassTraceFile.Counter)).Any();
            },
            () => official.Tail
        );
        var ours = PassTraceFile.Read(_fleet.Traces).ToDictionary(PassTraceFile.Counter);
        var theirs = PassTraceFile.Read(folder.Path).Where(line => ours.ContainsKey(PassTraceFile.Counter(line))).ToList();
        Assert.NotEmpty(theirs);
        Assert.All(
            theirs,
            line => Assert.Equal(PassTraceFile.Comparable(line), PassTraceFile.Comparable(ours[PassTraceFile.Counter(line)]))
        );
        var name = new Regex(@"^\w+\.\d{1,20}\.000000\.jsonl\.gz$");
        Assert.All(
            Directory.GetFiles(_fleet.Traces).Concat(Directory.GetFiles(folder.Path)),
            path => Assert.Matches(name, Path.GetFileName(path))
        );
    }

    private static IReadOnlyList<JsonObject> Passes(string path) =>
        // The last line may be half written.
        [.. File.ReadAllText(path).Split('\n').SkipLast(1).Select(line => JsonNode.Parse(line)!.AsObject())];

    private static bool HasPrefill(JsonObject pass) => Find(pass, "num_prefill_requests")?.GetValue<int>() > 0;

    /// <summary>First value of that name at any depth: the tool wraps the metrics.</summary>
    private static JsonNode? Find(JsonNode? node, string name) =>
        node switch
        {
            JsonObject map when map.TryGetPropertyValue(name, out var value) => value,
            JsonObject map => map.Select(pair => Find(pair.Value, name)).FirstOrDefault(found => found is not null),
            _ => null,
        };

    private static string Prompt(string name, int number, int words = 60) =>
        string.Join(' ', Enumerable.Range(0, words).Select(i => $"{name}{number} {i}"));

    private async Task AllServeAsync()
    {
        foreach (var instance in (ulong[])[_fleet.InstanceOf(_fleet.First), _fleet.InstanceOf(_fleet.Second), _fleet.OfficialInstance])
        {
            await _fleet.KvRouted.WaitAsync(
                $"the router does not know {instance}",
                Limit,
                async () => (await AskAsync(Prompt("warm", 0), instance)).Worker == instance
            );
        }
    }

    /// <summary>Waits until the router has been told of a prompt's blocks.</summary>
    private Task CachedAsync(string prompt) =>
        _fleet.KvRouted.WaitAsync("the prompt is not known to be cached", Limit, async () => (await AskAsync(prompt)).HitRate > 0.5);

    private static async Task ClearAsync(string address)
    {
        await using var client = await WorkerClient.ConnectAsync(address, PayloadCodec.MessagePack, CancellationToken.None);
        await using var call = await client.CallAsync(JsonSerializer.SerializeToUtf8Bytes(new JsonObject()), CancellationToken.None);
        await foreach (var item in call.ReadAsync(CancellationToken.None))
        {
            Assert.Equal("success", item["data"]?["status"]?.GetValue<string>());
        }
    }

    private Task<RoutedAnswer> AskAsync(string prompt, ulong? instance = null) =>
        RoutedAnswer.AskAsync(_fleet.KvRouted, prompt, instance: instance);
}
