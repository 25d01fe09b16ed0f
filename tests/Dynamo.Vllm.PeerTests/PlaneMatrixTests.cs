using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Servers;

namespace Dynamo.Vllm.PeerTests;

/// <summary>Every combination of planes behind the official frontend: streaming, cancel,
/// withdraw, kill -9. On the simulated engine, which is up in a second.</summary>
[Trait("Category", "Peers")]
public sealed class PlaneMatrixTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(2);

    [PeerFact]
    public Task File_tcp_zmq() => RunAsync("file", "tcp", "zmq");

    [PeerFact]
    public Task File_tcp_nats() => RunAsync("file", "tcp", "nats");

    [PeerFact]
    public Task File_nats_zmq() => RunAsync("file", "nats", "zmq");

    [PeerFact]
    public Task File_nats_nats() => RunAsync("file", "nats", "nats");

    [PeerFact]
    public Task Etcd_tcp_zmq() => RunAsync("etcd", "tcp", "zmq");

    [PeerFact]
    public Task Etcd_tcp_nats() => RunAsync("etcd", "tcp", "nats");

    [PeerFact]
    public Task Etcd_nats_zmq() => RunAsync("etcd", "nats", "zmq");

    [PeerFact]
    public Task Etcd_nats_nats() => RunAsync("etcd", "nats", "nats");

    private static async Task RunAsync(string discovery, string requests, string events)
    {
        using var store = new TemporaryFolder();
        await using var etcd = discovery == "etcd" ? await EtcdServer.StartAsync() : null;
        await using var nats = requests == "nats" || events == "nats" ? await NatsServer.StartAsync() : null;
        var variables = Peers.Variables(store.Path);
        variables["DYN_DISCOVERY_BACKEND"] = discovery;
        variables["DYN_REQUEST_PLANE"] = requests;
        variables["DYN_EVENT_PLANE"] = events;
        variables["ETCD_ENDPOINTS"] = etcd?.Url ?? "";
        if (nats is not null)
        {
            variables["NATS_SERVER"] = nats.Url;
        }

        await using var frontend = Frontend.Start(variables, "--router-mode", "kv", "--migration-limit", "2");
        await using var first = StartWorker(store.Path, variables);
        await first.ReadyAsync(Limit);
        await frontend.ServesAsync("tiny", Limit);
        await StreamAsync(frontend);
        await CancelAsync(frontend, first);

        // A second worker joins, the first is killed in the middle of streams: with migration on, every client gets all of its tokens.
        await using var second = StartWorker(store.Path, variables);
        await second.ReadyAsync(Limit);
        var streams = Enumerable.Range(0, 16).Select(i => CompleteAsync(frontend, $"kill {i}", 60)).ToList();
        await Task.Delay(500); // into the middle; the frontend has no event to wait for
        first.Process.Signal("KILL");
        Assert.All(await Task.WhenAll(streams), answer => Assert.True(answer.Length > 0));

        // Withdrawn while busy: what runs is finished.
        var last = Enumerable.Range(0, 4).Select(i => CompleteAsync(frontend, $"withdraw {i}", 40)).ToList();
        await Task.Delay(300);
        second.Process.Signal("TERM");
        Assert.All(await Task.WhenAll(last), answer => Assert.True(answer.Length > 0));
        Assert.Equal(0, await second.Process.ExitCodeAsync(Limit));
    }

    private static WorkerProcess StartWorker(string store, Dictionary<string, string> variables) =>
        WorkerProcess.StartSimulated(store, ["--simulated-step-time-ms", "20", .. KvEventFlags.OnFreePort()], variables);

    private static async Task StreamAsync(Frontend frontend)
    {
        using var response = await frontend.PostAsync("/v1/completions", Body("stream", 10, isStream: true));
        var text = await response.Content.ReadAsStringAsync();
        Assert.Contains("data: [DONE]", text, StringComparison.Ordinal);
        Assert.DoesNotContain("\"error\"", text, StringComparison.Ordinal);
    }

    private static async Task CancelAsync(Frontend frontend, WorkerProcess worker)
    {
        using (var cancel = new CancellationTokenSource(400))
        {
            try
            {
                using var response = await frontend.PostAsync(
                    "/v1/completions",
                    Body("cancel", 900, isStream: true),
                    cancellationToken: cancel.Token
                );
                await response.Content.ReadAsStringAsync(cancel.Token);
            }
            catch (OperationCanceledException)
            {
                // The client left, which is the point.
            }
        }

        await Polling.UntilAsync(
            "the request still runs",
            Limit,
            async () =>
                await worker.MetricAsync("dynamo_component_cancellation_total", "\"generate\"") >= 1
                && await worker.MetricAsync("vllm:num_requests_running") == 0
        );
    }

    private static async Task<string> CompleteAsync(Frontend frontend, string prompt, int tokens)
    {
        using var response = await frontend.PostAsync("/v1/completions", Body(prompt, tokens, isStream: false));
        var text = await response.Content.ReadAsStringAsync();
        Assert.True(response.IsSuccessStatusCode, text);
        return JsonNode.Parse(text)!["choices"]![0]!["text"]!.GetValue<string>();
    }

    private static JsonObject Body(string prompt, int tokens, bool isStream) =>
        new()
        {
            ["model"] = "tiny",
            ["prompt"] = prompt,
            ["max_tokens"] = tokens,
            ["temperature"] = 0,
            ["ignore_eos"] = true,
            ["stream"] = isStream,
        };
}
