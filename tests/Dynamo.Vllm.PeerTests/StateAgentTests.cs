using System.Globalization;
using System.Net;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PeerTests;

/// <summary>The official state agent follows our engine's cache, and the official router hears of it from the agent alone.</summary>
[Trait("Category", "Peers")]
public sealed class StateAgentTests
{
    private const string Owner =
        "0123456789abcdef0123456789abcdef:fedcba9876543210fedcba9876543210/0011223344556677/00112233445566778899aabbccddeeff";

    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(2);

    [PeerFact]
    public async Task The_agent_is_asked_and_the_router_knows_the_cache_through_it()
    {
        using var store = new TemporaryFolder();
        var variables = Peers.Variables(store.Path);
        variables["DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS"] = "0.2";
        await using var frontend = Frontend.Start(variables, "--router-mode", "kv");
        await using var worker = WorkerProcess.StartSimulated(
            store.Path,
            ["--block-size", "16", "--simulated-step-time-ms", "5", .. KvEventFlags.OnFreePort(), "--kv-transfer-config", Transfer()],
            variables
        );
        await worker.ReadyAsync(Limit);
        await worker.Process.LineAsync("Waiting for the KV state agent", Limit);
        await frontend.ServesAsync("tiny", Limit);
        var prompt = string.Join(' ', Enumerable.Range(0, 200));
        await RoutedAnswer.AskAsync(frontend, prompt);
        Assert.Equal(0, (await RoutedAnswer.AskAsync(frontend, prompt)).HitRate); // nobody tells the router
        await using var agent = new ChildProcess("state agent", Peers.Python, ["-m", "dynamo.kv_state_agent"], variables);
        await Polling.UntilAsync(
            "the agent follows nothing",
            Limit,
            () => Task.FromResult(Records(store, "kv%2Dstate%2Dattachments%2Dv2").Count == 1),
            () => agent.Tail
        );
        var attachment = Assert.Single(Records(store, "kv%2Dstate%2Dattachments%2Dv2"))["metadata"]!;
        var instance = ulong.Parse(worker.Instance, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
        Assert.Equal(instance, attachment["worker"]!["worker_id"]!.GetValue<ulong>());
        Assert.Empty(Directory.GetFiles(Path.Combine(store.Path, "v1", "event_sources"), "*topic%2Fkv%2Devents*"));
        var number = 0; // what is cached already is no event any more
        await frontend.WaitAsync(
            "the router does not know the prompt to be cached",
            Limit,
            async () => (await RoutedAnswer.AskAsync(frontend, $"{number++ / 4} {prompt}")).HitRate > 0.5
        );
        worker.Process.Signal("TERM");
        Assert.Equal(0, await worker.Process.ExitCodeAsync(Limit));
        Assert.Empty(Records(store, "kv%2Dstate%2Dattachment%2Dintents%2Dv2"));
    }

    /// <summary>By its name, since the agent may be on another host.</summary>
    private static string Transfer() =>
        new JsonObject
        {
            ["kv_connector"] = "NixlConnector",
            ["kv_role"] = "kv_both",
            ["kv_connector_extra_config"] = new JsonObject
            {
                ["dynamo_state_agent"] = new JsonObject
                {
                    ["raw_advertise_host"] = Dns.GetHostName(),
                    ["cache_owner_ids"] = new JsonObject { ["0"] = Owner },
                },
            },
        }.ToJsonString();

    private static IReadOnlyList<JsonObject> Records(TemporaryFolder store, string topic)
    {
        var folder = Path.Combine(store.Path, "v1", "event_sources");
        return Directory.Exists(folder)
            ? [.. Directory.GetFiles(folder, $"*{topic}*").Select(path => JsonNode.Parse(File.ReadAllText(path))!.AsObject())]
            : [];
    }
}
