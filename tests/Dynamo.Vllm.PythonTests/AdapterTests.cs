using System.Net;
using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Adapters;
using Dynamo.Vllm.Transports.Client;

namespace Dynamo.Vllm.PythonTests;

/// <summary>LoRA adapters through the whole worker: requests, discovery, drain, sleep, swap.</summary>
public sealed class AdapterTests : SimulatedWorkerTests
{
    private readonly TemporaryFolder _folder = new();

    [Fact]
    public async Task An_adapter_is_loaded_seen_used_and_unloaded()
    {
        await using var worker = await StartAsync(await AdapterAsync("one", 1), await AdapterAsync("two", 2));
        Assert.Equal("""{"status":"success","loras":{},"count":0}""", await worker.Http.GetStringAsync("/v1/loras"));
        var reply = await LoadAsync(worker, "one");
        Assert.Equal((HttpStatusCode.OK, "application/json"), (reply.Status, reply.Type));
        Assert.Equal(
            """{"status":"success","message":"LoRA adapter 'one' loaded successfully","lora_name":"one","lora_id":900595494}""",
            reply.Text
        );
        await LoadAsync(worker, "two");
        Assert.Equal(["one", "two"], Cards());
        var card = JsonNode.Parse(
            await File.ReadAllTextAsync(Records().Single(path => path.EndsWith("%2Fone", StringComparison.Ordinal)))
        )!["card_json"]!;
        Assert.Equal("""{"name":"one","max_gpu_lora_count":2}""", card["lora"]!.ToJsonString());
        Assert.Contains(
            "hidden_size",
            await worker.Http.GetStringAsync(new Uri((string)card["model_info"]!["hf_config_json"]!["path"]!)),
            StringComparison.Ordinal
        );

        await using var client = await ConnectAsync();
        string[] models = ["tiny", "one", "two", ""];
        var tokens = new List<string>();
        foreach (var model in models)
        {
            tokens.Add(await TokensAsync(client, model));
        }

        Assert.Equal(tokens[0], tokens[3]);
        Assert.Equal(3, tokens.Distinct().Count());
        Assert.Equal("ValueError: unknown model or LoRA adapter: 'nope'", await ErrorAsync(client, "nope"));

        using (var unloaded = await worker.Http.DeleteAsync("/v1/loras/one"))
        {
            Assert.Equal(HttpStatusCode.OK, unloaded.StatusCode);
        }

        Assert.Equal(["two"], Cards());
        Assert.Equal("ValueError: unknown model or LoRA adapter: 'one'", await ErrorAsync(client, "one"));
        Assert.Equal(tokens[2], await TokensAsync(client, "two"));
        await LoadAsync(worker, "one");
        Assert.Equal(tokens[1], await TokensAsync(client, "one"));
    }

    [Fact]
    public async Task The_endpoints_answer_as_the_routes_do_with_one_field_more()
    {
        await using var worker = await StartAsync(await AdapterAsync("one", 1));
        var body = Load("one").ToJsonString();
        Assert.Equal(
            """{"status":"success","message":"LoRA adapter 'one' loaded successfully","lora_name":"one","lora_id":900595494,"hot_swap":false}""",
            await CallAsync("load_lora", body)
        );
        Assert.Equal("""{"status":"success","loras":{"one":900595494},"count":1}""", await CallAsync("list_loras", "{}"));
        Assert.Equal("LoRA adapter 'one' already loaded", (string?)JsonNode.Parse(await CallAsync("load_lora", body))!["message"]);
        Assert.Equal(
            """{"status":"error","message":"Request is required with 'lora_name' field"}""",
            await CallAsync("unload_lora", "null")
        );
        Assert.Equal(
            """{"status":"success","message":"LoRA adapter 'one' unloaded successfully","lora_name":"one","lora_id":900595494}""",
            await CallAsync("unload_lora", """{"lora_name":"one"}""")
        );
        Assert.Empty(Cards());
    }

    [Theory]
    [InlineData("noconfig", "Loading lora bad failed: No adapter found for ")]
    [InlineData("noweights", "doesn't contain tensors")]
    [InlineData("rank", "LoRA rank 64 is greater than max_lora_rank 16.")]
    public async Task What_is_no_adapter_is_refused_and_leaves_nothing_behind(string defect, string message)
    {
        var folder = await AdapterAsync("bad", 1, defect == "rank" ? 64 : 8);
        File.Delete(
            Path.Combine(
                folder,
                defect switch
                {
                    "noconfig" => "adapter_config.json",
                    "noweights" => "adapter_model.safetensors",
                    _ => "none",
                }
            )
        );
        await using var worker = await StartAsync(folder);
        var reply = await LoadAsync(worker, "bad");
        Assert.Equal(HttpStatusCode.InternalServerError, reply.Status);
        Assert.Contains(
            $"Failed to add LoRA 'bad': Call to add_lora method failed: Worker failed with error '",
            reply.Text,
            StringComparison.Ordinal
        );
        Assert.Contains(message, reply.Text, StringComparison.Ordinal);
        Assert.Empty(Cards());
        await using var client = await ConnectAsync();
        Assert.Equal("ValueError: unknown model or LoRA adapter: 'bad'", await ErrorAsync(client, "bad"));
    }

    [Fact]
    public async Task An_unload_waits_for_what_runs_and_late_requests_are_answered()
    {
        await using var worker = await StartAsync(await AdapterAsync("one", 1));
        await LoadAsync(worker, "one");
        await using var client = await ConnectAsync();
        await using var running = await client.CallAsync(Request("one", 300), default);
        var reading = CountAsync(running);
        await UsageAsync(worker, usage => usage > 0);
        var unload = worker.Http.DeleteAsync("/v1/loras/one");
        await Polling.UntilAsync(
            "the change does not begin",
            Limit,
            async () =>
            {
                await using var late = await client.CallAsync(Request("one", 2), default);
                var items = await ItemsAsync(late);
                return items.Exists(item => (string?)item["error"]?["message"] == "ValueError: unknown model or LoRA adapter: 'one'");
            }
        );
        Assert.Equal(300, await reading);
        using var response = await unload.WaitAsync(Limit);
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        Assert.Empty(Cards());
    }

    [Fact]
    public async Task A_swap_lets_what_runs_finish_and_gives_the_next_request_the_new_version()
    {
        var (first, second) = (await AdapterAsync("one", 1), await AdapterAsync("other", 2));
        await using var worker = await StartAsync([first, second], new() { ["DYN_LORA_HOTSWAP_ENABLED"] = "true" });
        await LoadAsync(worker, "one");
        await using var client = await ConnectAsync();
        var old = await TokensAsync(client, "one");
        await using var running = await client.CallAsync(Request("one", 200), default);
        var reading = CountAsync(running);
        var (_, _, text) = await PostAsync(
            worker,
            "/engine/load_lora",
            new JsonObject
            {
                ["lora_name"] = "one",
                ["source"] = new JsonObject { ["uri"] = $"file://{second}" },
            }
        );
        Assert.Equal(
            """{"status":"success","message":"LoRA adapter 'one' hot-swapped successfully","lora_name":"one","lora_id":900595494,"hot_swap":true}""",
            text
        );
        Assert.Equal(200, await reading);
        Assert.NotEqual(old, await TokensAsync(client, "one"));
        Assert.Equal(["one"], Cards());
    }

    [Fact]
    public async Task A_swap_while_the_base_model_is_busy_still_drops_the_cached_blocks()
    {
        var (first, second) = (await AdapterAsync("one", 1), await AdapterAsync("other", 2));
        await using var worker = await StartAsync([first, second], new() { ["DYN_LORA_HOTSWAP_ENABLED"] = "true" });
        await LoadAsync(worker, "one");
        await using var client = await ConnectAsync();
        await using var busy = await client.CallAsync(Request("tiny", 400), default);
        var reading = CountAsync(busy);
        await UsageAsync(worker, usage => usage > 0);
        File.Copy(Path.Combine(second, "adapter_model.safetensors"), Path.Combine(first, "adapter_model.safetensors"), overwrite: true);
        var (status, _, text) = await LoadAsync(worker, "one");
        Assert.Equal((HttpStatusCode.OK, true), (status, text.Contains("hot-swapped", StringComparison.Ordinal)));
        Assert.Equal(400, await reading);
    }

    [Fact]
    public async Task A_worker_that_leaves_takes_its_adapters_out_of_discovery_first_and_finishes_what_runs()
    {
        await using var worker = await StartAsync([await AdapterAsync("one", 1), await AdapterAsync("two", 2)], new(), grace: 1);
        await LoadAsync(worker, "one");
        await using var client = await ConnectAsync();
        await using var running = await client.CallAsync(Request("one", 300), default);
        var reading = CountAsync(running);
        worker.Process.Signal("TERM");
        await worker.Process.LineAsync("Stopping", Limit);
        Assert.Empty(Cards());
        var reply = await LoadAsync(worker, "two");
        Assert.Equal(
            (HttpStatusCode.InternalServerError, true),
            (
                reply.Status,
                reply.Text.Contains(
                    "Failed to register LoRA 'two' in discovery registry: the worker is shutting down",
                    StringComparison.Ordinal
                )
            )
        );
        Assert.Empty(Cards());
        Assert.Equal(300, await reading.WaitAsync(Limit));
        Assert.Equal(0, await worker.Process.ExitCodeAsync(Limit));
        Assert.Empty(Records());
    }

    [Fact]
    public async Task Adapters_are_seen_as_long_as_the_engine_is_awake()
    {
        await using var worker = await StartAsync(await AdapterAsync("one", 1), await AdapterAsync("two", 2));
        await LoadAsync(worker, "one");
        Assert.Equal("Engine slept (level=1)", await ControlAsync(worker, "control/sleep"));
        Assert.Empty(Cards());
        Assert.Equal(HttpStatusCode.OK, (await LoadAsync(worker, "two")).Status);
        Assert.Empty(Cards());
        Assert.Equal("Engine woke", await ControlAsync(worker, "control/wake_up"));
        Assert.Equal(["one", "two"], Cards());
    }

    [Fact]
    public async Task Without_the_variable_there_are_no_routes_and_other_names_mean_the_base_model()
    {
        await using var worker = await StartAsync([await AdapterAsync("one", 1)], new() { ["DYN_LORA_ENABLED"] = "false" });
        Assert.Equal(404, await worker.StatusAsync("/v1/loras"));
        var (status, _, text) = await PostAsync(worker, "/engine/load_lora", Load("one"));
        Assert.Equal(
            (
                HttpStatusCode.OK,
                """{"status":"error","message":"LoRAManager not initialized. Set DYN_LORA_ENABLED=true to enable URI-based LoRA loading."}"""
            ),
            (status, text)
        );
        await using var client = await ConnectAsync();
        Assert.Equal(await TokensAsync(client, "tiny"), await TokensAsync(client, "one"));
    }

    [Fact]
    public async Task Without_the_flag_the_routes_say_that_nothing_is_managed()
    {
        await using var worker = await base.StartAsync(environment: new Dictionary<string, string> { ["DYN_LORA_ENABLED"] = "1" });
        var reply = await LoadAsync(worker, "one");
        Assert.Equal(
            """{"status":"error","message":"LoRA management not available: no 'load_lora' handler is registered (neither a local LoRA endpoint nor an engine update). This worker either has LoRA disabled or its backend does not support LoRA management.","lora_name":"one"}""",
            reply.Text
        );
        Assert.Equal(500, await worker.StatusAsync("/v1/loras"));
        Assert.Empty(FileDirectoryReader.FindTcp(Store, "load_lora"));
    }

    [Fact]
    public async Task Engine_statistics_name_the_adapter()
    {
        await using var worker = await StartAsync(await AdapterAsync("one", 1));
        await LoadAsync(worker, "one");
        // Over HTTP it is no request.
        Assert.Equal(0, await worker.MetricAsync("dynamo_component_requests_total", "dynamo_endpoint=\"load_lora\""));
        await CallAsync("list_loras", "{}");
        Assert.Equal(1, await worker.MetricAsync("dynamo_component_requests_total", "dynamo_endpoint=\"list_loras\""));
    }

    protected override void Dispose(bool disposing)
    {
        base.Dispose(disposing);
        _folder.Dispose();
    }

    private Task<WorkerProcess> StartAsync(params string[] adapters) => StartAsync(adapters, []);

    private Task<WorkerProcess> StartAsync(string[] adapters, Dictionary<string, string> environment, double grace = 0.2)
    {
        Assert.All(adapters, folder => Assert.True(Directory.Exists(folder)));
        environment.TryAdd("DYN_LORA_ENABLED", "true");
        return base.StartAsync(["--enable-lora", "--max-loras", "2"], grace: grace, environment: environment);
    }

    private Task<string> AdapterAsync(string name, int seed, int rank = 8) =>
        TestAdapter.MakeAsync(Path.Combine(SimulatedPaths.SimulatedEngine, "model"), Path.Combine(_folder.Path, name), seed, rank);

    private JsonObject Load(string name) =>
        new()
        {
            ["lora_name"] = name,
            ["source"] = new JsonObject { ["uri"] = $"file://{Path.Combine(_folder.Path, name)}" },
        };

    private Task<(HttpStatusCode Status, string? Type, string Text)> LoadAsync(WorkerProcess worker, string name) =>
        PostAsync(worker, "/v1/loras", Load(name));

    private static async Task<(HttpStatusCode Status, string? Type, string Text)> PostAsync(
        WorkerProcess worker,
        string path,
        JsonObject body
    )
    {
        using var response = await worker.Http.PostAsync(path, new StringContent(body.ToJsonString(), Encoding.UTF8, "application/json"));
        return (response.StatusCode, response.Content.Headers.ContentType?.MediaType, await response.Content.ReadAsStringAsync());
    }

    /// <summary>Suffixes of the adapter cards in discovery.</summary>
    private List<string> Cards() =>
        [
            .. Records()
                .Where(path => path.Contains("/v1/mdc/", StringComparison.Ordinal))
                .Select(path => Uri.UnescapeDataString(Path.GetFileName(path)).Split('/'))
                .Where(key => key.Length == 5)
                .Select(key => key[4])
                .Order(StringComparer.Ordinal),
        ];

    private async Task<string> CallAsync(string endpoint, string body)
    {
        await using var client = await WorkerClient.ConnectAsync(
            FileDirectoryReader.FindTcp(Store, endpoint)[0],
            PayloadCodec.MessagePack,
            default
        );
        await using var call = await client.CallAsync(Encoding.UTF8.GetBytes(body), default);
        return (await SingleAsync(call))["data"]!.ToJsonString(
            new() { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping }
        );
    }

    private static byte[] Request(string model, int maxTokens) =>
        Encoding.UTF8.GetBytes(
            $$$"""{"model":"{{{model}}}","token_ids":[7,2,3],"stop_conditions":{"max_tokens":{{{maxTokens}}},"ignore_eos":true},"sampling_options":{"temperature":0}}"""
        );

    private static async Task<string> TokensAsync(WorkerClient client, string model)
    {
        await using var call = await client.CallAsync(Request(model, 12), default);
        return string.Join(
            ',',
            (await ItemsAsync(call)).SelectMany(item => item["data"]!["token_ids"]!.AsArray()).Select(token => token!.ToJsonString())
        );
    }

    private static async Task<string?> ErrorAsync(WorkerClient client, string model)
    {
        await using var call = await client.CallAsync(Request(model, 2), default);
        return (string?)(await SingleAsync(call))["error"]!["message"];
    }

    private static async Task<List<JsonObject>> ItemsAsync(WorkerCall call)
    {
        var items = new List<JsonObject>();
        await foreach (var item in call.ReadAsync(default))
        {
            items.Add(item);
        }

        return items;
    }
}
