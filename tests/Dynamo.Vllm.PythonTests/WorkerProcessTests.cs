using System.Globalization;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Engine.Processes;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Transports.Client;

namespace Dynamo.Vllm.PythonTests;

/// <summary>The whole worker as a process on the simulated engine: the ways up, through and down.</summary>
public sealed class WorkerProcessTests : SimulatedWorkerTests
{
    private const string Transfer = """{"kv_connector":"NixlConnector","kv_role":"kv_both"}""";

    [Fact]
    public async Task An_idle_worker_that_is_told_to_stop_leaves_nothing_and_exits_with_0()
    {
        await using var worker = await StartAsync();
        var children = ChildProcesses.Descendants(worker.Process.Id);
        Assert.NotEmpty(children);
        Assert.NotEmpty(Records());
        worker.Process.Signal("TERM");
        Assert.Equal(0, await worker.Process.ExitCodeAsync(Limit));
        Assert.DoesNotContain(
            worker.Process.Lines,
            line => line.Contains(" WARN ", StringComparison.Ordinal) && line.Contains("Killed", StringComparison.Ordinal)
        );
        Assert.Empty(Records());
        Assert.All(children, AssertGone);
    }

    [Fact]
    public async Task When_memory_is_short_the_kernel_chooses_the_engine_before_the_worker()
    {
        await using var worker = await StartAsync();
        Assert.Equal(Math.Min(1000, Score(worker.Process.Id) + 300), Score(worker.FindEngineCore()));

        static int Score(int process) => int.Parse(File.ReadAllText($"/proc/{process}/oom_score_adj"), CultureInfo.InvariantCulture);
    }

    [Fact]
    public async Task A_stop_while_the_engine_loads_ends_at_once_and_never_registers()
    {
        await using var worker = WorkerProcess.StartSimulated(Store, ["--simulated-load-time-ms", "60000"]);
        await worker.Process.LineAsync("Embedding", Limit);
        Assert.Equal(503, await worker.StatusAsync("/health"));
        Assert.Equal(200, await worker.StatusAsync("/live"));
        worker.Process.Signal("TERM");
        Assert.Equal(0, await worker.Process.ExitCodeAsync(TimeSpan.FromSeconds(15)));
        Assert.Empty(Records());
    }

    [Fact]
    public async Task Probes_answer_while_the_interpreter_is_busy_loading()
    {
        await using var worker = WorkerProcess.StartSimulated(Store, ["--simulated-load-time-ms", "3000"]);
        await worker.Process.LineAsync("Embedding", Limit);
        for (var i = 0; i < 10; i++)
        {
            Assert.Equal(200, await worker.StatusAsync("/live"));
            Assert.Equal(503, await worker.StatusAsync("/health"));
        }

        await worker.ReadyAsync(Limit);
        Assert.Equal(200, await worker.StatusAsync("/health"));
    }

    [Fact]
    public async Task What_runs_when_the_stop_comes_is_finished()
    {
        await using var worker = await StartAsync();
        await using var client = await ConnectAsync();
        var calls = await Task.WhenAll(Enumerable.Range(0, 8).Select(i => client.CallAsync(Body(i, 100), default)));
        var reading = Task.WhenAll(calls.Select(CountAsync));
        worker.Process.Signal("TERM");
        worker.Process.Signal("TERM"); // a second one changes nothing
        Assert.All(await reading.WaitAsync(Limit), tokens => Assert.Equal(100, tokens));
        Assert.All(calls, call => Assert.True(call.IsComplete));
        Assert.Equal(0, await worker.Process.ExitCodeAsync(Limit));
    }

    [Fact]
    public async Task What_outlasts_the_drain_budget_gets_the_error_that_lets_it_migrate()
    {
        await using var worker = await StartAsync(["--drain-timeout", "0.5", "--simulated-step-time-ms", "100"]);
        await using var client = await ConnectAsync();
        await using var call = await client.CallAsync(Body(1, 900), default);
        JsonObject? last = null;
        var isTold = false;
        await foreach (var item in call.ReadAsync(default))
        {
            last = item;
            if (!isTold)
            {
                isTold = true;
                worker.Process.Signal("TERM");
            }
        }

        Assert.Equal("backend.engine_shutdown", last!["error"]!["reason"]!.GetValue<string>());
        Assert.Equal("EngineShutdown", last["error"]!["error_type"]!["Backend"]!.GetValue<string>());
        Assert.True(call.IsComplete);
        Assert.Equal(0, await worker.Process.ExitCodeAsync(Limit));
    }

    [Fact]
    public async Task A_killed_engine_core_fails_its_requests_and_ends_the_worker_with_1()
    {
        await using var worker = await StartAsync();
        await using var client = await ConnectAsync();
        await using var call = await client.CallAsync(Body(1, 900), default);
        var core = worker.FindEngineCore();
        JsonObject? last = null;
        await foreach (var item in call.ReadAsync(default))
        {
            if (last is null)
            {
                worker.Process.Signal("KILL", core);
            }

            last = item;
        }

        Assert.Equal("backend.engine_shutdown", last!["error"]!["reason"]!.GetValue<string>());
        Assert.Equal(1, await worker.Process.ExitCodeAsync(Limit));
        Assert.Empty(Records());
    }

    [Fact]
    public async Task An_idle_worker_notices_the_death_of_its_engine_core()
    {
        await using var worker = await StartAsync();
        worker.Process.Signal("KILL", worker.FindEngineCore());
        Assert.Equal(1, await worker.Process.ExitCodeAsync(TimeSpan.FromSeconds(15)));
    }

    [Fact]
    public async Task Children_do_not_outlive_a_killed_worker()
    {
        await using var worker = await StartAsync();
        var core = worker.FindEngineCore();
        worker.Process.Signal("KILL");
        await worker.Process.ExitCodeAsync(Limit);
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(10));
        while (IsAlive(core))
        {
            await Task.Delay(20, limit.Token); // the kernel delivers the parent-death signal; there is no event to wait for
        }
    }

    [Fact]
    public async Task A_client_that_kills_or_vanishes_frees_the_engine()
    {
        await using var worker = await StartAsync();
        var client = await ConnectAsync();
        var killed = await client.CallAsync(Body(1, 900), default);
        var broken = await client.CallAsync(Body(2, 900), default);
        await FirstAsync(killed);
        await FirstAsync(broken);
        await killed.KillAsync(default);
        await broken.DisposeAsync();
        await Polling.UntilAsync(
            "the requests still run",
            Limit,
            async () =>
                await worker.MetricAsync("dynamo_component_inflight_requests", "generate") == 0
                && await worker.MetricAsync("vllm:num_requests_running") == 0
        );

        Assert.Equal(2, await worker.MetricAsync("dynamo_component_cancellation_total", "generate"));
        await client.DisposeAsync();
    }

    [Theory]
    [InlineData("""[1,2]""", "not a map")]
    [InlineData("""{"token_ids":["x"]}""", "token_ids[0]")]
    [InlineData("""{}""", "token_ids is missing")]
    [InlineData("""{"token_ids":[1],"multi_modal_data":{"image_url":[]}}""", "multimodal processing is not enabled")]
    [InlineData("""{"token_ids":[1],"prompt_embeds":"AA=="}""", "--enable-prompt-embeds")]
    [InlineData("""{"token_ids":[1],"sampling_options":{"guided_decoding":{"json":{"$ref":"#"}}}}""", "non-progressing local $ref cycle")]
    public async Task A_request_that_cannot_be_served_is_answered(string body, string message)
    {
        await using var worker = await StartAsync();
        await using var client = await ConnectAsync();
        await using var call = await client.CallAsync(System.Text.Encoding.UTF8.GetBytes(body), default);
        var items = new List<JsonObject>();
        await foreach (var item in call.ReadAsync(default))
        {
            items.Add(item);
        }

        Assert.Contains(message, Assert.Single(items)["error"]!["message"]!.GetValue<string>(), StringComparison.Ordinal);
        Assert.True(call.IsComplete);
    }

    [Fact]
    public async Task Endpoints_beside_generate_answer_in_both_codecs()
    {
        await using var worker = await StartAsync();
        foreach (var codec in new[] { PayloadCodec.Json, PayloadCodec.MessagePack })
        {
            await using var client = await WorkerClient.ConnectAsync(
                FileDirectoryReader.FindTcp(Store, "clear_kv_blocks")[0],
                codec,
                default
            );
            await using var call = await client.CallAsync("{}"u8.ToArray(), default);
            await foreach (var item in call.ReadAsync(default))
            {
                Assert.Equal("KV cache cleared", item["data"]!["message"]!.GetValue<string>());
            }

            Assert.True(call.IsComplete);
        }
    }

    [Fact]
    public async Task The_canary_proves_the_endpoint_before_it_is_ready()
    {
        await using var worker = WorkerProcess.StartSimulated(
            Store,
            [],
            new Dictionary<string, string> { ["DYN_HEALTH_CHECK_ENABLED"] = "true", ["DYN_CANARY_WAIT_TIME"] = "1" }
        );
        await worker.ReadyAsync(Limit);
        Assert.Equal(503, await worker.StatusAsync("/health"));
        await Polling.UntilAsync("the canary proves nothing", Limit, async () => await worker.StatusAsync("/health") == 200);
    }

    [Fact]
    public async Task Sleep_withdraws_the_instance_and_wake_up_brings_it_back()
    {
        await using var worker = await StartAsync();
        Assert.Equal("Engine slept (level=1)", await ControlAsync(worker, "control/sleep"));
        Assert.Empty(FileDirectoryReader.FindTcp(Store, "generate"));
        Assert.Equal("Engine already sleeping", await ControlAsync(worker, "control/sleep"));
        Assert.Equal("Engine woke", await ControlAsync(worker, "control/wake_up"));
        Assert.Single(FileDirectoryReader.FindTcp(Store, "generate"));
        await using var client = await ConnectAsync();
        Assert.Equal(5, await CountAsync(await client.CallAsync(Body(1, 5), default)));
    }

    [Theory]
    [InlineData("control/sleep", "control/wake_up")]
    [InlineData("pause_generation", "resume_generation", """{"mode":"abort"}""")]
    public async Task A_stream_that_sleep_or_a_pause_cuts_ends_with_the_error_that_lets_it_go_on_elsewhere(
        string cut,
        string mend,
        string? body = null
    )
    {
        await using var worker = await StartAsync();
        await using var client = await ConnectAsync();
        await using var call = await client.CallAsync(Body(1, 900), default);
        JsonObject? last = null;
        await foreach (var item in call.ReadAsync(default))
        {
            if (last is null)
            {
                using var content = body is null ? null : new StringContent(body);
                using var answer = await worker.Http.PostAsync($"/engine/{cut}", content);
                Assert.Equal("ok", (string?)JsonNode.Parse(await answer.Content.ReadAsStringAsync())!["status"]);
            }

            last = item;
        }

        Assert.Equal("backend.engine_shutdown", (string?)last!["error"]?["reason"]);
        Assert.True(call.IsComplete);
        await ControlAsync(worker, mend);
        Assert.Equal(5, await CountAsync(await client.CallAsync(Body(1, 5), default)));
    }

    [Fact]
    public async Task A_decode_worker_that_refuses_a_request_lets_the_prefill_worker_free_its_blocks()
    {
        await using var prefill = await StartAsync(["--disaggregation-mode", "prefill", "--kv-transfer-config", Transfer]);
        await using var toPrefill = await ConnectAsync();
        var handOver = await SingleAsync(await toPrefill.CallAsync(Body(1, 1), default));
        await UsageAsync(prefill, usage => usage > 0);
        await using var decode = await StartAsync(["--disaggregation-mode", "decode", "--kv-transfer-config", Transfer]);
        var address = FileDirectoryReader
            .FindTcp(Store, "generate")
            .Single(address => address.Contains("/backend/", StringComparison.Ordinal));
        await using var toDecode = await WorkerClient.ConnectAsync(address, PayloadCodec.MessagePack, default);
        var request = JsonNode.Parse(Body(1, 2))!;
        request["stop_conditions"]!["min_tokens"] = 9; // more than max_tokens: prefill workers run one token and do not see it
        request["prefill_result"] = new JsonObject { ["disaggregated_params"] = handOver["data"]!["disaggregated_params"]!.DeepClone() };
        var refusal = await SingleAsync(await toDecode.CallAsync(System.Text.Encoding.UTF8.GetBytes(request.ToJsonString()), default));
        Assert.Equal("request.invalid", refusal["error"]!["reason"]!.GetValue<string>());
        await UsageAsync(prefill, usage => usage == 0); // the lease of the simulated engine is longer than the test waits
    }

    [Theory]
    [InlineData(new[] { "--model", "/nonexistent" }, 1, "/nonexistent")]
    [InlineData(new[] { "--no-such-flag" }, 2, "unrecognized arguments: --no-such-flag")]
    [InlineData(new[] { "--disaggregation-mode", "sideways" }, 2, "invalid choice: 'sideways'")]
    [InlineData(new[] { "--disaggregation-mode", "prefill" }, 1, "--kv-transfer-config")]
    [InlineData(new[] { "--realtime" }, 1, "realtime workers are not supported yet")]
    [InlineData(new[] { "--python", "/nonexistent/python" }, 1, "/nonexistent/python does not exist")]
    [InlineData(new[] { "--response-plane", "quic" }, 1, "quic is not supported")]
    public async Task A_mistake_on_the_command_line_is_one_clear_line_and_its_exit_code(string[] arguments, int code, string message)
    {
        // Nobody listens there, and it is not waited for.
        var away = new Dictionary<string, string>
        {
            ["DYN_DISCOVERY_BACKEND"] = "etcd",
            ["ETCD_ENDPOINTS"] = $"http://127.0.0.1:{FreePorts.Next()}",
        };
        await using var worker = WorkerProcess.StartSimulated(Store, arguments, away);
        Assert.Equal(code, await worker.Process.ExitCodeAsync(Limit));
        Assert.Contains(worker.Process.Lines, line => line.Contains(message, StringComparison.Ordinal));
        Assert.DoesNotContain(
            worker.Process.Lines,
            line =>
                line.Contains("shutdown was asked for", StringComparison.Ordinal) || line.Contains("exit code 0", StringComparison.Ordinal)
        );
        Assert.DoesNotContain(
            worker.Process.Lines,
            line => line.Contains(away["ETCD_ENDPOINTS"], StringComparison.Ordinal) || line.Contains("EngineDead", StringComparison.Ordinal)
        );
    }
}
