using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Transports.Client;

namespace Dynamo.Vllm.PythonTests;

/// <summary>Control calls of a trainer on the whole worker: while it serves, while it leaves, and after its engine died.</summary>
[Trait("Category", "Python")]
public sealed class TrainingTests : SimulatedWorkerTests
{
    [Fact]
    public async Task New_weights_give_other_tokens_and_a_request_that_waited_gets_them()
    {
        using var folder = new TemporaryFolder();
        await File.WriteAllTextAsync(Path.Combine(folder.Path, "model.safetensors"), "other");
        await using var worker = await StartAsync(["--enable-rl"]);
        await using var client = await ConnectAsync();
        var before = await TokensAsync(await client.CallAsync(Body(1, 5), default));
        Assert.Equal("ok", Status(await CallAsync(worker, "pause_generation", "{}")));
        var waiting = TokensAsync(await client.CallAsync(Body(1, 5), default));
        var update = new JsonObject { ["model_path"] = folder.Path, ["weight_version"] = 2 }.ToJsonString();
        Assert.Equal(
            """{"status":"ok","version":2,"version_declared":true}""",
            await CallAsync(worker, "update_weights_from_disk", update)
        );
        Assert.Equal("ok", Status(await CallAsync(worker, "resume_generation", "{}")));
        var after = await TokensAsync(await client.CallAsync(Body(1, 5), default));
        Assert.NotEqual(before, after);
        Assert.Equal(after, await waiting.WaitAsync(Limit));
    }

    [Fact]
    public async Task A_request_that_is_aborted_by_its_id_ends_as_cancelled_and_leaves_the_engine()
    {
        await using var worker = await StartAsync();
        await using var client = await ConnectAsync();
        await using var other = await client.CallAsync(Body(2, 200), default, "other");
        await using var call = await client.CallAsync(Body(1, 900), default, "named");
        JsonObject? last = null;
        await foreach (var item in call.ReadAsync(default))
        {
            if (last is null)
            {
                Assert.Equal(
                    """{"status":"ok","request_id":"named"}""",
                    await CallAsync(worker, "abort_request", """{"request_id":"named"}""")
                );
            }

            last = item;
        }

        Assert.Equal("cancelled", last!["data"]!["finish_reason"]!.GetValue<string>());
        Assert.True(call.IsComplete);
        Assert.Equal(200, await CountAsync(other));
    }

    [Fact]
    public async Task The_last_item_tells_of_the_experts_and_of_what_each_token_was_drawn_from()
    {
        await using var worker = await StartAsync(["--enable-return-routed-experts", "--return-sampling-mask"]);
        await using var client = await ConnectAsync();
        foreach (var start in (int[])[0, 2])
        {
            var body = $$$"""
                {"token_ids":[4,5,6],"stop_conditions":{"max_tokens":5,"ignore_eos":true},
                 "sampling_options":{"temperature":0,"routed_experts_prompt_start":{{{start}}}}}
                """;
            await using var call = await client.CallAsync(Encoding.UTF8.GetBytes(body), default);
            var tokens = new List<int>();
            JsonNode? data = null;
            await foreach (var item in call.ReadAsync(default))
            {
                Assert.Null(data);
                tokens.AddRange(item["data"]!["token_ids"]!.AsArray().Select(token => token!.GetValue<int>()));
                data = item["data"]!["engine_data"];
            }

            int[] rows = [.. new[] { 4, 5, 6 }[start..], .. tokens];
            var experts = data!["routed_experts"]!;
            Assert.Equal(
                rows.SelectMany(token => Enumerable.Range(token, 4).Select(place => (byte)(place % 8))),
                Convert.FromBase64String(experts["data"]!.GetValue<string>())
            );
            Assert.Equal($"[{rows.Length},2,2]", experts["shape"]!.ToJsonString());
            Assert.Equal(start, experts["start"]!.GetValue<int>());
            Assert.Equal("uint8", experts["dtype"]!.GetValue<string>());
            Assert.Equal(
                $"[{string.Join(',', tokens.Select(token => $"[{token},{token + 1},{token + 2}]"))}]",
                data["sampling_mask"]!.ToJsonString()
            );
        }
    }

    [Fact]
    public async Task A_kv_hint_goes_to_the_engine_and_one_of_another_form_is_refused()
    {
        await using var worker = await StartAsync();
        await using var client = await ConnectAsync();
        Assert.Equal(3, await CountAsync(await client.CallAsync(Hinted(Hint), default)));
        var refused = await SingleAsync(await client.CallAsync(Hinted("[1]"), default));
        Assert.Equal("ValueError: kv_hint must be an object", refused["error"]!["message"]!.GetValue<string>());
        Assert.Equal(3, await CountAsync(await client.CallAsync(Hinted("null"), default)));
    }

    [Fact]
    public async Task A_worker_that_drains_answers_every_call_and_takes_none_that_would_stop_its_requests()
    {
        await using var worker = await StartAsync(["--enable-rl", "--simulated-step-time-ms", "20"], grace: 0);
        await using var client = await ConnectAsync();
        var running = CountAsync(await client.CallAsync(Body(1, 200), default));
        worker.Process.Signal("TERM");
        await worker.Process.LineAsync("Draining", Limit);
        foreach (
            var (path, body) in ((string, string)[])
                [
                    ("pause_generation", "{}"),
                    ("update_weights_from_distributed", """{"allow_unpaused":true,"reset_prefix_cache":false}"""),
                    ("init_weights_update_group", "{}"),
                    ("control/scale_elastic_ep", """{"new_data_parallel_size":2}"""),
                    ("control/sleep", "{}"),
                ]
        )
        {
            Assert.Contains("shutting down", await CallAsync(worker, path, body), StringComparison.Ordinal);
        }

        foreach (var path in (string[])["resume_generation", "control/wake_up", "get_weight_version", "control/ep_capacity"])
        {
            Assert.Equal("ok", Status(await CallAsync(worker, path, "{}")));
        }

        Assert.Equal("ok", Status(await CallAsync(worker, "abort_request", """{"request_id":"nobody"}""")));
        Assert.Empty(FindInstances());
        Assert.Equal(200, await running.WaitAsync(Limit));
        Assert.Equal(0, await worker.Process.ExitCodeAsync(Limit));
    }

    [Fact]
    public async Task After_the_engine_died_every_call_is_answered_until_the_worker_has_gone()
    {
        await using var worker = await StartAsync(["--enable-rl"]);
        await CallAsync(worker, "pause_generation", "{}");
        worker.Process.Signal("KILL", worker.FindEngineCore());
        foreach (
            var (path, body) in ((string, string)[])
                [
                    ("update_weights_from_disk", """{"model_path":"/nope"}"""),
                    ("update_weights_from_distributed", "{}"),
                    ("init_weights_update_group", "{}"),
                    ("destroy_weights_update_group", "{}"),
                    ("flush_cache", "{}"),
                    ("resume_generation", "{}"),
                    ("control/wake_up", "{}"),
                ]
        )
        {
            try
            {
                Assert.Contains("\"status\":", await CallAsync(worker, path, body).WaitAsync(Limit), StringComparison.Ordinal);
            }
            catch (HttpRequestException)
            {
                break; // it has gone
            }
        }

        Assert.Equal(1, await worker.Process.ExitCodeAsync(Limit));
        Assert.Empty(FindInstances());
    }

    private const string Hint = """
        {"protocol_version":1,"message_id":"m","actions":[{"action_id":"a","action_type":"kv.fetch","action_version":"1.0","payload":{"x":[1]}}]}
        """;

    private static byte[] Hinted(string hint) =>
        Encoding.UTF8.GetBytes(
            $"{{\"token_ids\":[1,2,3],\"kv_hint\":{hint},\"stop_conditions\":{{\"max_tokens\":3,\"ignore_eos\":true}}}}"
        );

    private static string? Status(string answer) => (string?)JsonNode.Parse(answer)!["status"];

    private static async Task<string> CallAsync(WorkerProcess worker, string path, string body)
    {
        using var response = await worker.Http.PostAsync($"/engine/{path}", new StringContent(body, Encoding.UTF8));
        return await response.Content.ReadAsStringAsync();
    }

    private static async Task<string> TokensAsync(WorkerCall call)
    {
        var tokens = new List<string>();
        await foreach (var item in call.ReadAsync(default))
        {
            tokens.AddRange(item["data"]!["token_ids"]!.AsArray().Select(token => token!.ToJsonString()));
        }

        return string.Join(',', tokens);
    }

    private string[] FindInstances() =>
        Directory.Exists(Path.Combine(Store, "v1", "instances")) ? Directory.GetFiles(Path.Combine(Store, "v1", "instances")) : [];
}
