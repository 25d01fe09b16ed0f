using System.Globalization;
using System.Net;
using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PeerTests;

/// <summary>LoRA adapters: the same answers, cards and tokens as the official
/// worker's, straight at the status server and through the frontend.</summary>
[Trait("Category", "Peers")]
[TestCaseOrderer(DeclarationOrder.Type, DeclarationOrder.Assembly)] // the last test ends our worker
public sealed class AdapterPairTests : IClassFixture<AdapterPairFixture>
{
    /// <summary>Tokens of an answer during which something else happens. An adapter's come at 17 a second on a busy
    /// machine, so that it takes 15 s there and a second on an idle one.</summary>
    private const int Long = 250;

    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(2);

    private readonly AdapterPairFixture _pair;

    public AdapterPairTests(AdapterPairFixture pair) => _pair = pair;

    [PeerFact]
    public async Task Calls_are_answered_as_by_the_official_worker()
    {
        var differences = new List<string>();
        foreach (var call in AdapterCatalogue.Calls(_pair.Adapters.Path))
        {
            var (ours, official) = (await AskAsync(_pair.Ours.Http, call), await AskAsync(_pair.OfficialHttp, call));
            if (ours != official)
            {
                differences.Add($"{call}\n  ours     {ours}\n  official {official}");
            }
        }

        Assert.True(differences.Count == 0, string.Join('\n', differences));
    }

    [PeerFact]
    public async Task Cards_are_equal_and_go_with_the_adapter()
    {
        await LoadAsync("Org/My-LoRA.v1", "a1");
        var (ours, official) = (Comparable(_pair.OurInstance), Comparable(_pair.OfficialInstance));
        Assert.True(JsonNode.DeepEquals(official, ours), $"ours     {ours?.ToJsonString()}\nofficial {official?.ToJsonString()}");
        await UnloadAsync("Org/My-LoRA.v1");
        Assert.Null(_pair.Card(_pair.OurInstance, "org_my-lora_v1"));

        JsonObject? Comparable(ulong instance)
        {
            var card = _pair.Card(instance, "org_my-lora_v1");
            card?.Remove("instance_id");
            return card is null
                ? null
                : JsonNode
                    .Parse(System.Text.RegularExpressions.Regex.Replace(card.ToJsonString(), @"127\.0\.0\.1:\d+", "host"))!
                    .AsObject();
        }
    }

    [PeerFact]
    public async Task Tokens_are_those_of_the_official_worker_for_every_adapter_and_after_a_swap()
    {
        await LoadAsync("one", "a1");
        await LoadAsync("two", "a2");
        await ServesAsync("one");
        await ServesAsync("two");
        var listed = await _pair.Frontend.Http.GetStringAsync("/v1/models");
        Assert.Contains("\"one\"", listed, StringComparison.Ordinal);
        var answers = new Dictionary<string, string>();
        foreach (var model in (string[])["tiny", "one", "two"])
        {
            foreach (var prompt in (string[])["hello there", "one two three", "a"])
            {
                var ours = await CompleteAsync(model, prompt, _pair.OurInstance);
                Assert.Equal(await CompleteAsync(model, prompt, _pair.OfficialInstance), ours);
                answers[$"{model} {prompt}"] = ours;
            }
        }

        Assert.Equal(answers.Count, answers.Values.Distinct().Count());
        await LoadAsync("one", "a3", "hot-swapped");
        var swapped = await CompleteAsync("one", "hello there", _pair.OurInstance);
        Assert.Equal(await CompleteAsync("one", "hello there", _pair.OfficialInstance), swapped);
        Assert.DoesNotContain(swapped, answers.Values);
        await LoadAsync("one", "a1", "hot-swapped");
        Assert.Equal(answers["one hello there"], await CompleteAsync("one", "hello there", _pair.OurInstance));
        await UnloadAsync("one");
        await UnloadAsync("two");
        await _pair.Frontend.WaitAsync(
            "the adapter is still served",
            Limit,
            async () =>
                (await _pair.Frontend.CompleteAsync(new JsonObject { ["model"] = "one", ["prompt"] = "a" })).Status
                == HttpStatusCode.NotFound
        );
    }

    [PeerFact]
    public async Task A_swap_under_load_of_the_base_model_does_not_answer_from_the_old_adapter_s_blocks()
    {
        var prompt = string.Join(' ', Enumerable.Range(0, 60).Select(i => $"w{i % 9}")); // some blocks, which stay cached
        var folder = Directory.CreateDirectory(Path.Combine(_pair.Adapters.Path, "replaced")).FullName;
        CopyAdapter("a1", folder);
        await LoadOursAsync("busy", "replaced");
        await ServesAsync("busy");
        var first = await CompleteAsync("busy", prompt, _pair.OurInstance);
        await LoadOursAsync("fresh", "a2");
        var busy = CompleteAsync("tiny", "run on", _pair.OurInstance, Long);
        await Polling.UntilAsync("nothing runs", Limit, async () => await _pair.Ours.MetricAsync("vllm:num_requests_running") > 0);
        CopyAdapter("a2", folder); // in place: vLLM knows cached blocks by the adapter's name and path
        await LoadOursAsync("busy", "replaced", "hot-swapped");
        Assert.False(busy.IsCompleted);
        var swapped = await CompleteAsync("busy", prompt, _pair.OurInstance);
        await ServesAsync("fresh");
        // The same weights under a name that has nothing cached.
        Assert.Equal(await CompleteAsync("fresh", prompt, _pair.OurInstance), swapped);
        Assert.NotEqual(first, swapped);
        // Which tokens is not compared: beside an adapter's requests vLLM's CPU kernels round the base model's differently.
        Assert.NotEmpty(await busy);
        await UnloadOursAsync("busy");
        await UnloadOursAsync("fresh");
    }

    [PeerFact]
    public async Task An_unload_waits_for_what_runs_and_late_requests_are_answered_as_by_the_official_worker()
    {
        await LoadAsync("gone", "a1");
        await ServesAsync("gone");
        var whole = await CompleteAsync("gone", "on and on", _pair.OurInstance, Long);
        foreach (
            var (http, instance) in ((HttpClient, ulong)[])
                [(_pair.Ours.Http, _pair.OurInstance), (_pair.OfficialHttp, _pair.OfficialInstance)]
        )
        {
            var running = CompleteAsync("gone", "on and on", instance, Long);
            await Polling.UntilAsync("nothing runs", Limit, async () => await MetricAsync(http, "vllm:num_requests_running") > 0);
            var unload = http.DeleteAsync("/v1/loras/gone");
            var late = LateAsync(instance);
            Assert.Equal(whole, await running);
            using var response = await unload;
            Assert.Equal(HttpStatusCode.OK, response.StatusCode);
            Assert.Equal("400 Invalid request", await late);
        }
    }

    /// <summary>Over vLLM's own gRPC contract, with a frontend that knows of the sidecar alone.</summary>
    [PeerFact]
    public async Task An_adapter_is_loaded_used_and_unloaded_through_the_official_sidecar()
    {
        using var store = new TemporaryFolder();
        var port = FreePorts.Next();
        var variables = new Dictionary<string, string>(Peers.PlaneVariables(store.Path))
        {
            ["DYN_LORA_ENABLED"] = "true",
            ["DYN_SYSTEM_PORT"] = port.ToString(CultureInfo.InvariantCulture),
        };
        await using var sidecar = SidecarFixture.StartSidecar(_pair.GrpcPort, variables);
        await using var fronted = Frontend.Start(Peers.PlaneVariables(store.Path));
        using var http = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{port}") };
        await fronted.ServesAsync("tiny", Limit);
        await LoadOursAsync("direct", "a1");
        await LoadAtAsync(http, "via", "a1", "loaded");
        await fronted.ServesAsync("via", Limit);
        await ServesAsync("direct");
        foreach (var prompt in (string[])["hello there", "one two three"])
        {
            var expected = await CompleteAsync("direct", prompt, _pair.OurInstance);
            Assert.Equal(expected, await AnsweredAsync("via", prompt));
            Assert.NotEqual(expected, await AnsweredAsync("tiny", prompt));
        }

        Assert.Contains("\"via\"", await _pair.Ours.Http.GetStringAsync("/v1/loras"), StringComparison.Ordinal);
        using var unloaded = await http.DeleteAsync("/v1/loras/via");
        Assert.Equal(HttpStatusCode.OK, unloaded.StatusCode);
        Assert.DoesNotContain("\"via\"", await _pair.Ours.Http.GetStringAsync("/v1/loras"), StringComparison.Ordinal);
        await fronted.WaitAsync(
            "the adapter is still served",
            Limit,
            async () => (await fronted.CompleteAsync(Body("via", "a", 1))).Status == HttpStatusCode.NotFound
        );
        await UnloadOursAsync("direct");

        async Task<string> AnsweredAsync(string model, string prompt) =>
            TextOf(await AnswerAsync(fronted, model, prompt, 16, details: () => sidecar.Tail));
    }

    /// <summary>Behind a second frontend, which routes by the workers' caches.</summary>
    [PeerFact]
    public async Task A_prompt_goes_to_the_worker_that_has_it_cached_for_this_adapter_and_a_drain_costs_no_client_its_answer()
    {
        await LoadAsync("ad", "a1");
        await using var router = Frontend.Start(Peers.Variables(_pair.Store), "--router-mode", "kv");
        await router.ServesAsync("ad", Limit);
        var before = await Task.WhenAll(CountsAsync("vllm:request_success_total"));
        await Polling.UntilAsync(
            "the router does not know both",
            Limit,
            async () =>
            {
                await RouteAsync("tiny", $"warm {Guid.NewGuid()}", 1);
                var counts = await Task.WhenAll(CountsAsync("vllm:request_success_total"));
                return counts[0] > before[0] && counts[1] > before[1];
            }
        );

        // Prompts of some blocks each, which the two share out among them; then each again, a part of it cached at one worker only.
        string[] prompts =
        [
            .. Enumerable.Range(0, 12).Select(i => string.Join(' ', Enumerable.Range(0, 50).Select(n => $"p{i} w{n % 7}"))),
        ];
        foreach (var prompt in prompts)
        {
            Assert.Equal(0, (await RouteAsync("ad", prompt, 4)).Cached);
        }

        foreach (var prompt in prompts)
        {
            Assert.True((await RouteAsync("ad", prompt, 4)).Cached >= 64, "the router sent it to the other worker");
        }

        Assert.Equal(0, (await RouteAsync("tiny", prompts[0], 4)).Cached); // the same tokens without the adapter are other blocks

        var whole = (await RouteAsync("ad", "on and on", Long)).Text;
        var running = Enumerable.Range(0, 4).Select(_ => RouteAsync("ad", "on and on", Long)).ToList();
        // All four have reached a worker, and some this one: what is still on its way at a SIGTERM is another matter.
        await Polling.UntilAsync(
            "not all run",
            Limit,
            async () =>
            {
                var counts = await Task.WhenAll(CountsAsync("vllm:num_requests_running"));
                return (counts[0] > 0 && counts.Sum() == 4) || running.Any(answer => answer.IsCompleted);
            }
        );
        Assert.DoesNotContain(running, answer => answer.IsCompleted); // else the drain below would show nothing
        _pair.Ours.Process.Signal("TERM");
        await _pair.Ours.Process.LineAsync("Stopping", Limit);
        Assert.All(await Task.WhenAll(running), answer => Assert.Equal(whole, answer.Text));
        Assert.Equal(0, await _pair.Ours.Process.ExitCodeAsync(Limit));
        // Sockets and metrics are gone with it; vLLM's rendezvous file and what the compiler keeps for the next start are not ours to move.
        Assert.All(
            Directory.GetFileSystemEntries(_pair.Temporary.Path).Select(Path.GetFileName),
            left => Assert.Matches("^(vllm_dist_|torchinductor_)", left)
        );
        Assert.Equal(whole, (await RouteAsync("ad", "on and on", Long)).Text);

        async Task<(string Text, int Cached)> RouteAsync(string model, string prompt, int tokens)
        {
            var answer = await AnswerAsync(
                router,
                model,
                prompt,
                tokens,
                details: () => $"{_pair.Ours.Process.Tail}\n{router.Process.Tail}"
            );
            return (TextOf(answer), (int?)answer["usage"]?["prompt_tokens_details"]?["cached_tokens"] ?? 0);
        }
    }

    /// <summary>Of both workers, ours first.</summary>
    private Task<double>[] CountsAsync(string family) => [_pair.Ours.MetricAsync(family), MetricAsync(_pair.OfficialHttp, family)];

    private static async Task<double> MetricAsync(HttpClient http, string family) =>
        MetricSamples.Sum(await http.GetStringAsync("/metrics"), family);

    private void CopyAdapter(string name, string folder)
    {
        foreach (var file in Directory.GetFiles(Path.Combine(_pair.Adapters.Path, name)))
        {
            File.Copy(file, Path.Combine(folder, Path.GetFileName(file)), overwrite: true);
        }
    }

    /// <summary>A request that arrives while the adapter is being unloaded; those before are served.</summary>
    private async Task<string> LateAsync(ulong instance)
    {
        while (true)
        {
            using var response = await _pair.Frontend.PostAsync("/v1/completions", Body("gone", "late", 1), instance);
            if (!response.IsSuccessStatusCode)
            {
                return $"{(int)response.StatusCode} {(string?)JsonNode.Parse(await response.Content.ReadAsStringAsync())!["message"]}";
            }
        }
    }

    private async Task LoadAsync(string name, string adapter, string done = "loaded")
    {
        await LoadOursAsync(name, adapter, done);
        await LoadAtAsync(_pair.OfficialHttp, name, adapter, done);
    }

    private Task LoadOursAsync(string name, string adapter, string done = "loaded") => LoadAtAsync(_pair.Ours.Http, name, adapter, done);

    private async Task LoadAtAsync(HttpClient http, string name, string adapter, string done)
    {
        var body = new JsonObject
        {
            ["lora_name"] = name,
            ["source"] = new JsonObject { ["uri"] = $"file://{_pair.Adapters.Path}/{adapter}" },
        };
        using var response = await http.PostAsync("/v1/loras", new StringContent(body.ToJsonString(), Encoding.UTF8, "application/json"));
        Assert.Equal(
            $"LoRA adapter '{name}' {done} successfully",
            (string?)JsonNode.Parse(await response.Content.ReadAsStringAsync())!["message"]
        );
    }

    private async Task UnloadAsync(string name)
    {
        await UnloadOursAsync(name);
        using var response = await _pair.OfficialHttp.DeleteAsync($"/v1/loras/{name}");
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
    }

    private async Task UnloadOursAsync(string name)
    {
        using var response = await _pair.Ours.Http.DeleteAsync($"/v1/loras/{name}");
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
    }

    private Task ServesAsync(string model) => _pair.Frontend.ServesAsync(model, Limit);

    private static JsonObject Body(string model, string prompt, int tokens) =>
        new()
        {
            ["model"] = model,
            ["prompt"] = prompt,
            ["max_tokens"] = tokens,
            ["temperature"] = 0,
            ["ignore_eos"] = true,
        };

    private async Task<string> CompleteAsync(string model, string prompt, ulong instance, int tokens = 16) =>
        TextOf(await AnswerAsync(_pair.Frontend, model, prompt, tokens, instance));

    /// <summary>A completion, which must be one.</summary>
    private static async Task<JsonNode> AnswerAsync(
        Frontend frontend,
        string model,
        string prompt,
        int tokens,
        ulong? instance = null,
        Func<string>? details = null
    )
    {
        using var response = await frontend.PostAsync("/v1/completions", Body(model, prompt, tokens), instance);
        var answer = JsonNode.Parse(await response.Content.ReadAsStringAsync())!;
        Assert.True(response.IsSuccessStatusCode, $"{answer.ToJsonString()}\n{details?.Invoke()}");
        return answer;
    }

    private static string TextOf(JsonNode answer) => answer["choices"]![0]!["text"]!.GetValue<string>();

    private static async Task<string> AskAsync(HttpClient http, AdapterCatalogue.Call call)
    {
        using var request = new HttpRequestMessage(new HttpMethod(call.Method), call.Path)
        {
            Content = call.Body is null ? null : new StringContent(call.Body, Encoding.UTF8, "application/json"),
        };
        using var response = await http.SendAsync(request);
        var text = await response.Content.ReadAsStringAsync();
        var allowed = string.Join(',', response.Content.Headers.Allow);
        return string.Create(
            CultureInfo.InvariantCulture,
            $"{(int)response.StatusCode} {response.Content.Headers.ContentType} {allowed} {text}"
        );
    }
}
