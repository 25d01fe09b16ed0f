using System.Net;
using System.Net.Http.Headers;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Servers;

namespace Dynamo.Vllm.PythonTests;

/// <summary>The status page of a worker that serves, its drain, and its token.</summary>
public sealed class StatusPageTests : SimulatedWorkerTests
{
    private const string Browser = "chromium";
    private const string Token = "a-token-of-this-test";

    [Fact]
    public async Task It_shows_what_is_served_and_drains_and_returns()
    {
        await using var worker = await StartAsync(["--engine-frozen-timeout", "1"]);
        await CallAsync();
        var status = await ReadAsync(worker);
        Assert.Equal(("tiny", "agg", "file"), ((string?)status["model"], (string?)status["role"], (string?)status["discovery"]));
        Assert.Equal(worker.Instance, (string?)status["instance"]);
        Assert.True((bool)status["ready"]!);
        Assert.Equal(1, (int)status["endpoints"]![0]!["finished"]!);

        var core = worker.FindEngineCore();
        worker.Process.Signal("STOP", core);
        await UntilAsync(worker, "the engine is not suspected", now => now["engine_problem"] is not null && !(bool)now["ready"]!);
        worker.Process.Signal("CONT", core);
        await UntilAsync(worker, "the engine is still suspected", now => (bool)now["ready"]!);
        Assert.Contains(status["problems"]!.AsArray().Concat((await ReadAsync(worker))["problems"]!.AsArray()), HasLevel("Warning"));

        using var handler = new HttpClientHandler { AllowAutoRedirect = false };
        using var http = new HttpClient(handler) { BaseAddress = worker.Http.BaseAddress };
        using var answer = await http.PostAsync("/status/drain", content: null);
        Assert.Equal((HttpStatusCode.SeeOther, "/status"), (answer.StatusCode, answer.Headers.Location!.ToString()));
        await worker.Process.LineAsync("Reloading: out of discovery", Limit);
        await worker.Process.LineAsync("Reloaded: back in discovery", Limit);
        await UntilAsync(worker, "it does not come back", now => !(bool)now["draining"]! && (bool)now["ready"]!);
    }

    [Fact]
    public async Task While_the_model_loads_it_says_how_far_that_is()
    {
        await using var worker = WorkerProcess.StartSimulated(Store, ["--simulated-load-time-ms", "12000"]);
        await worker.Process.LineAsync("Start: weights, after ", Limit);
        await UntilAsync(worker, "the load is not at its second half", now => (string?)now["start"]?["detail"] is { } text && IsHalf(text));
        var status = await ReadAsync(worker);
        Assert.Equal("weights", (string?)status["start"]!["phase"]);
        Assert.Matches(@"^Starting: engine \(stage 5 of \d+\): weights, \d+ s, Loading safetensors ", (string)status["state"]!);
        Assert.InRange(await worker.MetricAsync("dynamo_vllm_start_phase_seconds", "weights"), 0.1, 60);
        await worker.Process.LineAsync("Start: weights, for 1", Limit);
        await worker.ReadyAsync(Limit);
        Assert.Null((await ReadAsync(worker))["start"]);
        var sum = await worker.Process.LineAsync("The start took ", Limit);
        Assert.Matches(@"engine arguments [^:]+, model [^:]+, engine processes \d+\.\d s, weights 1\d\.\d s, memory profile", sum);
        Assert.InRange(await worker.MetricAsync("dynamo_vllm_start_phase_seconds", "weights"), 11, 19);
    }

    [ServerFact(Browser)]
    public async Task A_browser_draws_it_and_loads_nothing_else()
    {
        await using var worker = await StartAsync();
        await CallAsync();
        using var folder = new TemporaryFolder();
        var picture = Path.Combine(folder.Path, "page.png");
        await using var chromium = new ChildProcess(
            "chromium",
            ServerPrograms.Find(Browser)!,
            [
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                $"--user-data-dir={Path.Combine(folder.Path, "profile")}",
                "--enable-logging=stderr",
                "--window-size=1120,860",
                $"--screenshot={picture}",
                new Uri(worker.Http.BaseAddress!, "/status").ToString(),
            ],
            new Dictionary<string, string>()
        );
        Assert.Equal(0, await chromium.ExitCodeAsync(Limit));

        // What the policy refuses, or a page asks for in vain, is an error in the browser's console.
        Assert.DoesNotContain(chromium.Lines, line => line.Contains("CONSOLE", StringComparison.Ordinal));
        var bytes = await File.ReadAllBytesAsync(picture);
        Assert.True(bytes.Length > 20_000, $"a picture of {bytes.Length} bytes shows an empty page"); // about:blank has 4 kB
    }

    [Fact]
    public async Task With_a_token_file_only_its_owner_controls_and_a_start_without_a_token_ends()
    {
        using var folder = new TemporaryFolder();
        var file = folder.Write("token", Token);
        var beyond = new Dictionary<string, string> { ["DYN_SYSTEM_HOST"] = "0.0.0.0" };
        await using (var worker = await StartAsync(["--system-token-file", file], environment: beyond))
        {
            Assert.Equal(200, await worker.StatusAsync("/health"));
            Assert.Equal(401, await worker.StatusAsync("/engine/control/sleep"));
            Assert.Equal(401, await worker.StatusAsync("/status"));
            worker.Http.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", Token);
            Assert.Equal(200, await worker.StatusAsync("/status"));
            Assert.Contains("<button>", await worker.Http.GetStringAsync("/status"), StringComparison.Ordinal);
            Assert.DoesNotContain(worker.Process.Lines, IsOpen);
            Assert.DoesNotContain(worker.Process.Lines, line => line.Contains(Token, StringComparison.Ordinal));
        }

        await using (var open = await StartAsync(environment: beyond))
        {
            Assert.Contains(open.Process.Lines, IsOpen);
            Assert.DoesNotContain("<button>", await open.Http.GetStringAsync("/status"), StringComparison.Ordinal);
        }

        await using var none = WorkerProcess.StartSimulated(Store, ["--system-token-file", "/nowhere/token"]);
        Assert.Equal(1, await none.Process.ExitCodeAsync(Limit));
        Assert.Contains(none.Process.Lines, line => line.Contains("--system-token-file /nowhere/token:", StringComparison.Ordinal));

        static bool IsOpen(string line) => line.Contains("can call what controls the engine", StringComparison.Ordinal);
    }

    [Fact]
    public async Task Top_shows_a_worker_that_serves_and_one_that_is_not_there()
    {
        await using var worker = await StartAsync();
        await CallAsync();
        var here = worker.Http.BaseAddress!.Authority;
        var nobody = $"127.0.0.1:{FreePorts.Next()}";
        await using var top = new ChildProcess(
            "top",
            "dotnet",
            [
                System.IO.Path.Combine(AppContext.BaseDirectory, "Dynamo.Vllm.Worker.dll"),
                "top",
                here,
                nobody,
                "--interval",
                "0.3",
                "--count",
                "2",
            ],
            new Dictionary<string, string>()
        );
        Assert.Equal(0, await top.ExitCodeAsync(Limit));
        Assert.Equal(2, top.Lines.Count(line => line.StartsWith($"{here}  serving", StringComparison.Ordinal)));
        Assert.Equal(2, top.Lines.Count(line => line.StartsWith($"{nobody}  Connection refused", StringComparison.Ordinal)));
    }

    private async Task CallAsync()
    {
        await using var client = await ConnectAsync();
        await using var call = await client.CallAsync(Body(1, 8), default);
        Assert.Equal(8, await CountAsync(call));
    }

    private static Predicate<JsonNode?> HasLevel(string level) => problem => (string?)problem!["level"] == level;

    private static async Task<JsonNode> ReadAsync(WorkerProcess worker) =>
        JsonNode.Parse(await worker.Http.GetStringAsync("/status.json"))!;

    private static Task UntilAsync(WorkerProcess worker, string problem, Func<JsonNode, bool> condition) =>
        Polling.UntilAsync(problem, Limit, async () => condition(await ReadAsync(worker)));

    private static bool IsHalf(string detail) => detail.Contains("checkpoint shards 1 of 2", StringComparison.Ordinal);
}
