using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Transports.Client;

namespace Dynamo.Vllm.PythonTests;

/// <summary>An embedding worker as a process on the simulated engine: what it
/// says of itself, what it answers, and what it does when somebody goes away.</summary>
public sealed class EmbeddingWorkerTests : SimulatedWorkerTests
{
    private static readonly string[] Flags = ["--embedding-worker", "--runner", "pooling", "--convert", "embed"];

    /// <summary>Sixteen prompts of 512 tokens, at 128 tokens a step: far longer than what a test does meanwhile.</summary>
    private static readonly string[] SlowFlags =
    [
        .. Flags,
        "--simulated-step-time-ms",
        "100",
        "--max-num-batched-tokens",
        "128",
        "--max-num-seqs",
        "16",
    ];

    private static readonly byte[] SlowBody = Encoding.UTF8.GetBytes(
        $$"""{"input":[{{string.Join(',', Enumerable.Repeat($"[{string.Join(',', Enumerable.Repeat('7', 512))}]", 16))}}]}"""
    );

    [Fact]
    public async Task It_has_one_endpoint_and_tells_routers_nothing()
    {
        await using var worker = await StartAsync(Flags);
        Assert.Equal(
            ["v1/instances", "v1/mdc"],
            Records().Select(path => Path.GetRelativePath(Store, Path.GetDirectoryName(path)!)).Order()
        );
        var metrics = await worker.Http.GetStringAsync("/metrics");
        foreach (var absent in (string[])["vllm:", "dynamo_component_total_blocks", "model_name=", "kv_publisher", "first_token"])
        {
            Assert.DoesNotContain(absent, metrics, StringComparison.Ordinal);
        }

        var model = Path.Combine(SimulatedPaths.SimulatedEngine, "model");
        Assert.Equal(0, await worker.MetricAsync("dynamo_component_requests_total", $"model=\"{model}\",worker_id="));
        Assert.Contains($"model=\"{model}\",worker_id=", metrics, StringComparison.Ordinal);
        using var response = await worker.Http.PostAsync("/engine/control/sleep", null);
        Assert.Equal(System.Net.HttpStatusCode.NotFound, response.StatusCode);
        Assert.Equal(200, await worker.StatusAsync("/health"));
    }

    [Fact]
    public async Task Several_processes_are_as_many_instances_and_status_ports_of_one()
    {
        await using var worker = await StartAsync([.. Flags, "--embedding-worker-processes", "3"]);
        var port = worker.Http.BaseAddress!.Port;
        var addresses = FileDirectoryReader.FindTcp(Store, "generate");
        Assert.Equal(3, addresses.Distinct().Count());
        Assert.Equal(3, Records().Count(path => path.Contains("mdc", StringComparison.Ordinal)));
        var answers = new List<string>();
        foreach (var address in addresses)
        {
            await using var client = await WorkerClient.ConnectAsync(address, PayloadCodec.MessagePack, default);
            answers.Add((await AskAsync(client, """{"input":"hello"}"""))["data"]!["data"]!.ToJsonString());
        }

        Assert.Single(answers.Distinct());
        using var http = new HttpClient();
        for (var i = 0; i < 3; i++)
        {
            using var live = await http.GetAsync($"http://127.0.0.1:{port + i}/live");
            using var health = await http.GetAsync($"http://127.0.0.1:{port + i}/health");
            Assert.Equal((System.Net.HttpStatusCode.OK, System.Net.HttpStatusCode.OK), (live.StatusCode, health.StatusCode));
            var metrics = await http.GetStringAsync($"http://127.0.0.1:{port + i}/metrics");
            Assert.Equal(i == 0, metrics.Contains("dynamo_component_requests_total", StringComparison.Ordinal));
        }

        Assert.Equal(3, await worker.MetricAsync("dynamo_component_requests_total"));
        worker.Process.Signal("TERM");
        Assert.Equal(0, await worker.Process.ExitCodeAsync(Limit));
        Assert.Empty(Records());
    }

    [Theory]
    [InlineData(PayloadCodec.Json)]
    [InlineData(PayloadCodec.MessagePack)]
    public async Task Requests_are_answered_in_either_form_and_codec(PayloadCodec codec)
    {
        await using var worker = await StartAsync(Flags);
        await using var client = await WorkerClient.ConnectAsync(FileDirectoryReader.FindTcp(Store, "generate")[0], codec, default);
        var text = (await AskAsync(client, """{"model":"x","input":["hello","a b c","hello"],"encoding_format":"base64"}"""))["data"]!;
        Assert.Equal("x", text["model"]!.GetValue<string>());
        var vectors = text["data"]!.AsArray().Select(entry => Convert.FromBase64String(entry!["embedding"]!.GetValue<string>())).ToArray();
        Assert.Equal(3, vectors.Length);
        Assert.Equal(vectors[0], vectors[2]);
        Assert.NotEqual(vectors[0], vectors[1]);
        Assert.All(vectors, vector => Assert.Equal(1.0, LengthOf(vector), 5));

        var ids = (await AskAsync(client, """{"token_ids":[[1,5,6],[1]],"model":"x"}"""))["data"]!;
        Assert.Equal((4, 4), (ids["prompt_tokens"]!.GetValue<int>(), ids["total_tokens"]!.GetValue<int>()));
        Assert.Equal(2, ids["embeddings"]!.AsArray().Count);
        var refused = await AskAsync(client, """{"input":[[1],[99999]]}""");
        Assert.Equal("Token id 99999 is out of vocabulary", refused["error"]!["public"]!["message"]!.GetValue<string>());
        Assert.Equal("backend.invalid_argument", refused["error"]!["reason"]!.GetValue<string>());
    }

    [Fact]
    public async Task The_canary_proves_the_endpoint()
    {
        await using var worker = WorkerProcess.StartSimulated(
            Store,
            Flags,
            new Dictionary<string, string> { ["DYN_HEALTH_CHECK_ENABLED"] = "true", ["DYN_CANARY_WAIT_TIME"] = "1" }
        );
        await worker.ReadyAsync(Limit);
        // Without a proof it stays 503.
        await Polling.UntilAsync("the canary proves nothing", Limit, async () => await worker.StatusAsync("/health") == 200);
        Assert.DoesNotContain(worker.Process.Lines, line => line.Contains("Health probe of", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("--embedding-worker", "makes no embeddings, it does generate. It needs --runner pooling")]
    [InlineData("--classify-worker", "pools nothing, it does generate. It needs --runner pooling")]
    public async Task A_model_of_another_kind_is_refused_at_the_start(string flag, string problem)
    {
        await using var worker = WorkerProcess.StartSimulated(Store, [flag]);
        Assert.Equal(1, await worker.Process.ExitCodeAsync(Limit));
        Assert.Contains(worker.Process.Lines, line => line.Contains(problem, StringComparison.Ordinal));
        Assert.Empty(Records());
    }

    [Fact]
    public async Task A_caller_that_leaves_takes_its_prompts_out_of_the_engine()
    {
        await using var worker = await StartAsync(SlowFlags);
        await using var client = await ConnectAsync();
        var killed = await client.CallAsync(SlowBody, default);
        var broken = await client.CallAsync(SlowBody, default);
        await RunningAsync(worker, 2);
        await killed.KillAsync(default);
        await broken.DisposeAsync();
        await RunningAsync(worker, 0);
        Assert.Equal(2, await worker.MetricAsync("dynamo_component_cancellation_total"));
        // Behind 128 steps of 100 ms it would come late: the engine has nothing else to do any more.
        var answer = await AskAsync(client, """{"input":"hello"}""").WaitAsync(TimeSpan.FromSeconds(5));
        Assert.NotNull(answer["data"]);
    }

    [Fact]
    public async Task What_runs_when_the_stop_comes_is_finished()
    {
        await using var worker = await StartAsync(SlowFlags);
        await using var client = await ConnectAsync();
        await using var call = await client.CallAsync(SlowBody, default);
        await RunningAsync(worker, 1);
        worker.Process.Signal("TERM");
        Assert.Equal(16, (await SingleAsync(call).WaitAsync(Limit))["data"]!["data"]!.AsArray().Count);
        Assert.True(call.IsComplete);
        Assert.Equal(0, await worker.Process.ExitCodeAsync(Limit));
        Assert.Empty(Records());
    }

    [Fact]
    public async Task What_outlasts_the_drain_budget_gets_the_error_that_lets_it_migrate()
    {
        await using var worker = await StartAsync([.. SlowFlags, "--drain-timeout", "0.5"]);
        await using var client = await ConnectAsync();
        await using var call = await client.CallAsync(SlowBody, default);
        await RunningAsync(worker, 1);
        worker.Process.Signal("TERM");
        var error = (await SingleAsync(call).WaitAsync(Limit))["error"]!;
        Assert.Equal("backend.engine_shutdown", error["reason"]!.GetValue<string>());
        Assert.Equal("Engine was shut down during embedding.", error["message"]!.GetValue<string>());
        Assert.Equal(0, await worker.Process.ExitCodeAsync(Limit));
    }

    [Fact]
    public async Task A_killed_engine_core_fails_its_requests_and_ends_the_worker_with_1()
    {
        await using var worker = await StartAsync(SlowFlags);
        await using var client = await ConnectAsync();
        await using var call = await client.CallAsync(SlowBody, default);
        await RunningAsync(worker, 1);
        worker.Process.Signal("KILL", worker.FindEngineCore());
        Assert.Equal("backend.engine_shutdown", (await SingleAsync(call).WaitAsync(Limit))["error"]!["reason"]!.GetValue<string>());
        Assert.Equal(1, await worker.Process.ExitCodeAsync(Limit));
        Assert.Empty(Records());
    }

    [Fact]
    public async Task A_frozen_engine_is_left_and_taken_back_when_it_goes_on()
    {
        await using var worker = await StartAsync(SlowFlags);
        await using var client = await ConnectAsync();
        await using var call = await client.CallAsync(SlowBody, default);
        await RunningAsync(worker, 1);
        var core = worker.FindEngineCore();
        worker.Process.Signal("STOP", core);
        Assert.Equal("backend.engine_shutdown", (await SingleAsync(call).WaitAsync(Limit))["error"]!["reason"]!.GetValue<string>());
        worker.Process.Signal("CONT", core);
        await Polling.UntilAsync("the worker does not come back", Limit, async () => await worker.StatusAsync("/health") == 200);
        // Behind what the caller was led away from it would come late.
        Assert.NotNull((await AskAsync(client, """{"input":"hello"}""").WaitAsync(TimeSpan.FromSeconds(5)))["data"]);
        worker.Process.Signal("TERM");
        Assert.Equal(0, await worker.Process.ExitCodeAsync(Limit));
    }

    [Fact]
    public async Task A_control_body_above_the_limit_is_refused_in_words_and_is_no_error_of_ours()
    {
        await using var worker = await StartAsync(Flags);
        using var request = new HttpRequestMessage(HttpMethod.Post, "/engine/update/model_taints");
        request.Content = new ByteArrayContent(new byte[(16 << 20) + 1]);
        request.Headers.ExpectContinue = true; // answered before the body is sent, else the answer may be lost with the connection
        using var response = await worker.Http.SendAsync(request);
        Assert.Equal(413, (int)response.StatusCode);
        Assert.Contains("16777216 bytes", await response.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        Assert.DoesNotContain(worker.Process.Lines, line => line.Contains("BadHttpRequestException", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Slow_steps_raise_no_alarm()
    {
        await using var worker = await StartAsync([.. Flags, "--simulated-step-time-ms", "2500"]);
        await using var client = await ConnectAsync();
        Assert.NotNull((await AskAsync(client, """{"input":"hello"}"""))["data"]);
        Assert.DoesNotContain(worker.Process.Lines, line => line.Contains("Stall", StringComparison.Ordinal));
    }

    private static Task RunningAsync(WorkerProcess worker, int count) =>
        Polling.UntilAsync(
            $"there are not {count} requests under way",
            Limit,
            async () => await worker.MetricAsync("dynamo_component_inflight_requests") == count
        );

    private static async Task<JsonObject> AskAsync(WorkerClient client, string body)
    {
        await using var call = await client.CallAsync(Encoding.UTF8.GetBytes(body), default);
        var item = await SingleAsync(call);
        Assert.True(call.IsComplete);
        return item["error"] is null ? new JsonObject { ["data"] = item["data"]!.DeepClone() } : item;
    }

    private static double LengthOf(byte[] vector) =>
        Math.Sqrt(Enumerable.Range(0, vector.Length / 4).Sum(i => Math.Pow(BitConverter.ToSingle(vector, 4 * i), 2)));
}
