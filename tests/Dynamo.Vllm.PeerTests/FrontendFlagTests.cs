using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PeerTests;

/// <summary>Settings whose effect the official frontend sees, on the simulated engine: names, limits, the form of prompts.</summary>
[Trait("Category", "Peers")]
public sealed class FrontendFlagTests : IDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(2);

    private readonly TemporaryFolder _store = new();

    [PeerFact]
    public async Task Workers_under_other_names_are_found_and_served()
    {
        var variables = Peers.Variables(_store.Path);
        await using var frontend = Frontend.Start(variables, "--router-mode", "round-robin");
        await using var suffixed = WorkerProcess.StartSimulated(
            _store.Path,
            ["--namespace", "blue", "--served-model-name", "first", "alias"],
            new Dictionary<string, string>(variables) { ["DYN_NAMESPACE_WORKER_SUFFIX"] = "v2" }
        );
        await using var renamed = WorkerProcess.StartSimulated(
            _store.Path,
            ["--endpoint", "dyn://green.workers.answer", "--served-model-name", "second"],
            variables
        );
        await Task.WhenAll(suffixed.ReadyAsync(Limit), renamed.ReadyAsync(Limit));
        foreach (var model in (string[])["first", "alias", "second"])
        {
            await frontend.ServesAsync(model, Limit);
        }

        var names = Directory
            .GetFiles(Path.Combine(_store.Path, "v1", "mdc"))
            .Select(path => Uri.UnescapeDataString(Path.GetFileName(path)))
            .ToList();
        Assert.Contains(names, name => name.StartsWith("blue-v2/backend/generate/", StringComparison.Ordinal));
        Assert.Contains(names, name => name.StartsWith("green/workers/answer/", StringComparison.Ordinal));
    }

    [PeerFact]
    public async Task A_run_of_bench_sums_up_what_the_frontend_streams_in_completions_and_chats()
    {
        var variables = Peers.Variables(_store.Path);
        await using var frontend = Frontend.Start(variables, "--router-mode", "round-robin");
        await using var worker = WorkerProcess.StartSimulated(_store.Path, ["--simulated-step-time-ms", "20"], variables);
        await worker.ReadyAsync(Limit);
        await frontend.ServesAsync("tiny", Limit);
        await using var completions = Bench(frontend, "--tokenizer", Path.Combine(SimulatedPaths.SimulatedEngine, "model"));
        Assert.Equal(0, await completions.ExitCodeAsync(Limit));
        var (result, before) = (Result("openai"), await frontend.MetricAsync("dynamo_frontend_requests_total", "completions", "success"));
        Assert.Equal((12, 0), ((int)result["completed"]!, (int)result["failed"]!));
        Assert.Equal((12 * 30, 12 * 8), ((int)result["total_input_tokens"]!, (int)result["total_output_tokens"]!));
        Assert.Equal(13, before); // one of them ours, that waited for the model
        Assert.InRange((double)result["median_tpot_ms"]!, 18, 100); // 20 ms a step
        Assert.InRange((double)result["mean_ttft_ms"]!, 15, 2000);

        await using var chats = Bench(frontend, "--backend", "openai-chat");
        Assert.Equal(0, await chats.ExitCodeAsync(Limit));
        Assert.Equal((12, 12 * 8), ((int)Result("openai-chat")["completed"]!, (int)Result("openai-chat")["total_output_tokens"]!));

        await using var refused = Bench(frontend, "--model", "nobody");
        Assert.Equal(1, await refused.ExitCodeAsync(Limit));
        Assert.Contains(refused.Lines, line => line.StartsWith("12 failed: HTTP 404; the first: ", StringComparison.Ordinal));
    }

    [PeerFact]
    public async Task Prompts_that_the_frontend_packs_are_answered_as_those_in_a_list()
    {
        var variables = Peers.Variables(_store.Path);
        await using var worker = WorkerProcess.StartSimulated(_store.Path, environment: variables);
        await worker.ReadyAsync(Limit);
        var answers = new List<string>();
        foreach (var packs in (string[])["0", "1"])
        {
            await using var frontend = Frontend.Start(
                new Dictionary<string, string>(variables) { ["DYN_TOKEN_IDS_AS_BYTES"] = packs },
                "--router-mode",
                "round-robin"
            );
            await frontend.ServesAsync("tiny", Limit);
            var (_, body) = await frontend.CompleteAsync(Completion(8));
            answers.Add($"{body["choices"]![0]!["text"]} {body["usage"]!["prompt_tokens"]}");
        }

        Assert.Equal(answers[0], answers[1]);
    }

    [PeerFact]
    public async Task A_worker_at_its_limit_is_told_to_clients_as_overload()
    {
        var variables = Peers.Variables(_store.Path);
        await using var frontend = Frontend.Start(variables, "--router-mode", "round-robin");
        await using var worker = WorkerProcess.StartSimulated(
            _store.Path,
            ["--engine-request-limit", "1", "--simulated-step-time-ms", "100"],
            new Dictionary<string, string>(variables) { ["DYN_DYNAMO_REQUEST_QUEUE_LIMIT"] = "2" }
        );
        await worker.ReadyAsync(Limit);
        await frontend.ServesAsync("tiny", Limit);
        var statuses = await Task.WhenAll(
            Enumerable.Range(0, 8).Select(async _ => (int)(await frontend.CompleteAsync(Completion(20))).Status)
        );
        Assert.Contains(200, statuses);
        Assert.Contains(statuses, status => status is 529 or 503);
        Assert.All(statuses, status => Assert.True(status is 200 or 529 or 503, $"{status}"));
        await frontend.ServesAsync("tiny", Limit); // and it is not avoided for ever
    }

    [PeerFact]
    public async Task A_drain_ends_with_the_runtime_s_limit_and_its_client_goes_on_elsewhere()
    {
        var variables = Peers.Variables(_store.Path);
        await using var frontend = Frontend.Start(variables, "--router-mode", "round-robin", "--migration-limit", "3");
        await using var leaving = WorkerProcess.StartSimulated(
            _store.Path,
            ["--simulated-step-time-ms", "250"],
            new Dictionary<string, string>(variables)
            {
                ["DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS"] = "0",
                ["DYN_RUNTIME_GRACEFUL_SHUTDOWN_TIMEOUT_SECS"] = "1",
            }
        );
        await leaving.ReadyAsync(Limit);
        await frontend.ServesAsync("tiny", Limit);
        const int Tokens = 400; // a hundred seconds here, or two where it goes on
        var answer = frontend.CompleteAsync(Completion(Tokens));
        await Polling.UntilAsync("nothing is generated", Limit, async () => await leaving.MetricAsync("vllm:generation_tokens_total") > 3);
        await using var staying = WorkerProcess.StartSimulated(_store.Path, environment: variables);
        await staying.ReadyAsync(Limit);
        leaving.Process.Signal("TERM");
        await leaving.Process.LineAsync("Draining 1 requests, for 1 s at most", Limit);
        Assert.Equal(0, await leaving.Process.ExitCodeAsync(TimeSpan.FromSeconds(20))); // the drain budget alone is 30 s
        var (status, body) = await answer;
        Assert.True((int)status == 200, $"{status} {body}");
        Assert.Equal(Tokens, body["usage"]!["completion_tokens"]!.GetValue<int>());
        Assert.True(await staying.MetricAsync("vllm:generation_tokens_total") > 0);
    }

    public void Dispose() => _store.Dispose();

    private static JsonObject Completion(int tokens) =>
        new()
        {
            ["model"] = "tiny",
            ["prompt"] = "hello world, how long is this?",
            ["max_tokens"] = tokens,
            ["min_tokens"] = tokens,
            ["temperature"] = 0,
        };

    private ChildProcess Bench(Frontend frontend, params string[] arguments) =>
        new(
            "bench",
            "dotnet",
            [
                Path.Combine(AppContext.BaseDirectory, "Dynamo.Vllm.Worker.dll"),
                "bench",
                "--base-url",
                frontend.Http.BaseAddress!.ToString(),
                "--num-prompts",
                "12",
                "--max-concurrency",
                "4",
                "--random-input-len",
                "30",
                "--random-output-len",
                "8",
                "--save-result",
                "--result-dir",
                Path.Combine(_store.Path, "results"),
                .. arguments,
            ],
            new Dictionary<string, string>()
        );

    /// <summary>Of the one run that said so in the name of its file.</summary>
    private JsonNode Result(string backend) =>
        JsonNode.Parse(File.ReadAllText(Assert.Single(Directory.GetFiles(Path.Combine(_store.Path, "results"), $"{backend}-infqps-*"))))!;
}
