using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Transports.Client;

namespace Dynamo.Vllm.PeerTests;

/// <summary>Prompt embeddings, vLLM's own Generate API, switched-off statistics: the same as the
/// official worker's, through the frontend and straight at the worker.</summary>
[Trait("Category", "Peers")]
public sealed partial class PairTests : IClassFixture<PairFixture>
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(2);

    private static readonly JsonObject?[] Lengths =
    [
        new() { ["max_tokens"] = 12, ["ignore_eos"] = true },
        new() { ["max_tokens"] = 1 },
        null,
    ];

    private readonly PairFixture _pair;

    public PairTests(PairFixture pair) => _pair = pair;

    [PeerFact]
    public async Task Embeddings_are_answered_as_by_the_official_worker_through_the_frontend()
    {
        var differences = new List<string>();
        foreach (var (name, length) in Cases())
        {
            var ours = await CompleteAsync(Body(name, length), _pair.OurInstance);
            var official = await CompleteAsync(Body(name, length), _pair.OfficialInstance);
            Compare(differences, name, length, ours, official);
        }

        Assert.True(differences.Count == 0, string.Join('\n', differences));
    }

    [PeerFact]
    public async Task Embeddings_are_answered_as_by_the_official_worker_without_a_frontend()
    {
        await using var toOurs = await WorkerClient.ConnectAsync(_pair.AddressOf(_pair.OurInstance), PayloadCodec.MessagePack, default);
        await using var toOfficial = await WorkerClient.ConnectAsync(
            _pair.AddressOf(_pair.OfficialInstance),
            PayloadCodec.MessagePack,
            default
        );
        var differences = new List<string>();
        foreach (var (name, length) in Cases())
        {
            Compare(
                differences,
                name,
                length,
                await AskAsync(toOurs, Request(name, length)),
                await AskAsync(toOfficial, Request(name, length))
            );
        }

        Assert.True(differences.Count == 0, string.Join('\n', differences));
    }

    [PeerFact]
    public async Task Rows_of_the_model_s_own_table_are_answered_as_their_tokens()
    {
        await using var client = await WorkerClient.ConnectAsync(_pair.AddressOf(_pair.OurInstance), PayloadCodec.MessagePack, default);
        var tokens = Request("rows-bfloat16", Lengths[0]);
        tokens.Remove("prompt_embeds");
        tokens["token_ids"] = new JsonArray([.. PromptTensors.Tokens.Select(token => JsonValue.Create(token))]);
        var expected = await AskAsync(client, tokens);
        Assert.Contains("\"tokens\":[", expected, StringComparison.Ordinal);
        foreach (var name in _pair.Embeddings.Select(pair => pair.Key).Where(name => name.StartsWith("rows-", StringComparison.Ordinal)))
        {
            Assert.Equal(expected, await AskAsync(client, Request(name, Lengths[0])));
        }
    }

    [PeerFact]
    public async Task Many_at_once_with_the_prefix_cache_are_answered_as_one_by_one()
    {
        await using var client = await WorkerClient.ConnectAsync(_pair.AddressOf(_pair.OurInstance), PayloadCodec.MessagePack, default);
        string[] names = ["rows-float32", "one-row", "two-blocks", "float16", "nearly-the-context", "wrong-width", "words"];
        var alone = new Dictionary<string, string>();
        foreach (var name in names)
        {
            alone[name] = await AskAsync(client, Request(name, Lengths[0]));
        }

        var hits = await _pair.Ours.MetricAsync("vllm:prefix_cache_hits_total");
        var together = await Task.WhenAll(
            Enumerable
                .Range(0, 42)
                .Select(async i =>
                    (Name: names[i % names.Length], Answer: await AskAsync(client, Request(names[i % names.Length], Lengths[0])))
                )
        );
        Assert.All(together, answer => Assert.Equal(alone[answer.Name], answer.Answer));
        Assert.True(await _pair.Ours.MetricAsync("vllm:prefix_cache_hits_total") > hits);
        Assert.Equal(0, await _pair.Ours.MetricAsync("vllm:num_requests_running"));
    }

    [PeerFact]
    public async Task Statistics_stay_on_whatever_the_flag_says()
    {
        await CompleteAsync(Body("one-row", Lengths[0]), _pair.OurInstance);
        await CompleteAsync(Body("one-row", Lengths[0]), _pair.OfficialInstance);
        var ours = await _pair.Ours.Http.GetStringAsync("/metrics");
        var official = await _pair.OfficialHttp.GetStringAsync("/metrics");
        Assert.Equal(Families(official, "vllm:"), Families(ours, "vllm:"));
        foreach (var scrape in (string[])[ours, official])
        {
            Assert.True(MetricSamples.Sum(scrape, "vllm:generation_tokens_total") > 0);
            Assert.True(MetricSamples.Sum(scrape, "vllm:inter_token_latency_seconds_count") > 0);
            Assert.True(MetricSamples.Sum(scrape, "dynamo_component_total_blocks") > 0);
        }

        await _pair.Ours.Process.LineAsync("Avg generation throughput", Limit); // vLLM's line of every ten seconds
        await _pair.Official.LineAsync("Avg generation throughput", Limit);
    }

    private IEnumerable<(string Name, JsonObject? Length)> Cases() =>
        _pair.Embeddings.SelectMany(pair =>
            Lengths
                // Without a limit the answer is as long as the context allows, which takes a while from a short prompt: one is enough.
                .Where(length =>
                    length is not null || pair.Key is "rows-float32" || pair.Key.EndsWith("-context", StringComparison.Ordinal)
                )
                .Select(length => (pair.Key, length))
        );

    private JsonObject Body(string name, JsonObject? length)
    {
        var body = new JsonObject
        {
            ["model"] = "tiny",
            ["prompt"] = "",
            ["prompt_embeds"] = _pair.Embeddings[name]!.DeepClone(),
            ["temperature"] = 0,
        };
        foreach (var (field, value) in length ?? [])
        {
            body[field] = value!.DeepClone();
        }

        return body;
    }

    private JsonObject Request(string name, JsonObject? length) =>
        new()
        {
            ["token_ids"] = new JsonArray(),
            ["prompt_embeds"] = _pair.Embeddings[name]!.DeepClone(),
            ["sampling_options"] = new JsonObject { ["temperature"] = 0 },
            ["stop_conditions"] = length?.DeepClone() ?? new JsonObject(),
        };

    private async Task<string> CompleteAsync(JsonObject body, ulong instance)
    {
        using var response = await _pair.Frontend.PostAsync("/v1/completions", body, instance);
        var answer = JsonNode.Parse(await response.Content.ReadAsStringAsync())!.AsObject();
        foreach (var field in (string[])["id", "created", "nvext"])
        {
            answer.Remove(field);
        }

        (answer["usage"] as JsonObject)?.Remove("prompt_tokens_details"); // which worker saw a prefix before is chance
        return $"{(int)response.StatusCode} {answer.ToJsonString()}";
    }

    /// <summary>The tokens, how often they came apart left out; what ends them; and every error.</summary>
    private static async Task<string> AskAsync(WorkerClient client, JsonObject request)
    {
        using var limit = new CancellationTokenSource(Limit);
        await using var call = await client.CallAsync(Encoding.UTF8.GetBytes(request.ToJsonString()), limit.Token);
        var answer = new JsonObject { ["tokens"] = new JsonArray() };
        await foreach (var item in call.ReadAsync(limit.Token))
        {
            foreach (var (field, value) in item["data"] as JsonObject ?? item)
            {
                if (field == "token_ids")
                {
                    value!.AsArray().ToList().ForEach(token => answer["tokens"]!.AsArray().Add(token!.DeepClone()));
                }
                else
                {
                    answer[field] = value?.DeepClone();
                }
            }
        }

        // Which worker saw a prefix before is chance.
        (answer["completion_usage"] as JsonObject)?.Remove("prompt_tokens_details");
        (answer["engine_data"]?["kv_cache_hit"] as JsonObject)?.Remove("reused_tokens");
        return $"{(call.IsComplete ? "complete" : "incomplete")} {answer.ToJsonString()}";
    }

    private static void Compare(List<string> differences, string name, JsonObject? length, string ours, string official)
    {
        if (ours != official)
        {
            differences.Add($"{name} {length?.ToJsonString() ?? "without a limit"}\n  ours     {ours}\n  official {official}");
        }
    }

    private static IEnumerable<string> Families(string scrape, string prefix) =>
        scrape
            .Split('\n')
            .Where(line => line.StartsWith("# TYPE " + prefix, StringComparison.Ordinal))
            .Select(line => line.Split(' ')[2])
            .Distinct()
            .Order(StringComparer.Ordinal);
}
