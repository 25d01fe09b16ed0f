using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Transports.Client;

namespace Dynamo.Vllm.PeerTests;

/// <summary>What a trainer asks a worker for: ours and the official one get the same.</summary>
[TestCaseOrderer(DeclarationOrder.Type, DeclarationOrder.Assembly)]
[Trait("Category", "Peers")]
public sealed class TrainingTests : IClassFixture<TrainingFixture>
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    private readonly TrainingFixture _pair;

    public TrainingTests(TrainingFixture pair) => _pair = pair;

    [PeerFact]
    public async Task Token_in_requests_start_from_vLLM_s_own_defaults_as_in_the_official_worker()
    {
        await using var ours = await DirectWorker.ConnectAsync(_pair.Addresses[TrainingFixture.OurName]);
        await using var official = await DirectWorker.ConnectAsync(_pair.Addresses[TrainingFixture.OfficialName]);
        var comparison = new AnswerComparison(ours, official);
        await comparison.ExpectEqualAsync(TrainingCatalogue.Requests);
        comparison.AssertNone();
        var (model, plain) = (await ours.AskAsync(TrainingCatalogue.Requests[0]), await ours.AskAsync(TrainingCatalogue.Requests[1]));
        Assert.False(JsonNode.DeepEquals(model!["choice 0"]!["token_ids"], plain!["choice 0"]!["token_ids"]));
    }

    [PeerFact]
    public async Task What_the_engine_measured_of_itself_is_told_as_by_the_official_worker()
    {
        var (ours, official) = (await MeasuredAsync(TrainingFixture.OurName), await MeasuredAsync(TrainingFixture.OfficialName));
        Assert.Equal(official, ours);
        Assert.Contains("\"status\":\"complete\"", ours, StringComparison.Ordinal);

        async Task<string> MeasuredAsync(string name)
        {
            await using var worker = await DirectWorker.ConnectAsync(AddressOf(name, "get_perf_metrics"));
            var measured = (await worker.AskAsync("{}"))!["choice without index"]!;
            WithoutChance(measured);
            return CanonicalJson.Write(measured);
        }
    }

    /// <summary>Times, names of the run and of its files, and which worker it was.</summary>
    private static void WithoutChance(JsonNode? node)
    {
        foreach (var part in node is JsonArray list ? list.ToList() : [])
        {
            WithoutChance(part);
        }

        foreach (var (key, value) in node is JsonObject map ? map.ToList() : [])
        {
            var isChance =
                key
                    is "run_id"
                        or "started_at"
                        or "completed_at"
                        or "worker_id"
                        or "rank_files"
                        or "merged_output_path"
                        or "output_path"
                        or "port"
                || value?.GetValueKind() == System.Text.Json.JsonValueKind.Number
                    && value.ToJsonString().Contains('.', StringComparison.Ordinal);
            if (isChance)
            {
                node![key] = "...";
            }
            else
            {
                WithoutChance(value);
            }
        }
    }

    [PeerFact]
    public async Task Hints_where_blocks_are_go_to_the_engine_and_others_are_refused_as_by_the_official_worker()
    {
        await using var ours = await DirectWorker.ConnectAsync(_pair.Addresses[TrainingFixture.OurName]);
        await using var official = await DirectWorker.ConnectAsync(_pair.Addresses[TrainingFixture.OfficialName]);
        var comparison = new AnswerComparison(ours, official);
        await comparison.ExpectEqualAsync(KvHintCatalogue.Equal);
        await comparison.ExpectRefusedAsync(KvHintCatalogue.FaultsThere, answer => AnswerComparison.ClassOf(answer) == "Internal");
        comparison.AssertNone();
    }

    [PeerFact]
    public void Our_card_equals_the_official_one_but_for_the_name_also_in_what_it_says_of_hints()
    {
        var ours = _pair.CardWithoutName(TrainingFixture.OurName);
        Assert.Equal(CanonicalJson.Write(_pair.CardWithoutName(TrainingFixture.OfficialName)), CanonicalJson.Write(ours));
        Assert.True(ours["runtime_config"]!["runtime_data"]!["router_hint"]!.GetValue<bool>());
    }

    [PeerFact]
    public async Task The_rl_endpoint_tells_of_the_calls_as_the_official_one_does()
    {
        foreach (var question in TrainingCatalogue.Questions)
        {
            var (ours, official) = (await AskAsync(TrainingFixture.OurName), await AskAsync(TrainingFixture.OfficialName));
            Assert.Equal(official, ours);

            async Task<string> AskAsync(string name)
            {
                using var limit = new CancellationTokenSource(Limit);
                await using var client = await WorkerClient.ConnectAsync(AddressOf(name, "rl"), PayloadCodec.MessagePack, limit.Token);
                await using var call = await client.CallAsync(Encoding.UTF8.GetBytes(question), limit.Token);
                var items = new List<string>();
                await foreach (var item in call.ReadAsync(limit.Token))
                {
                    if (item["data"]?["system_url"] is { } url)
                    {
                        Assert.Equal(HttpOf(name).BaseAddress, new Uri(url.GetValue<string>()));
                        item["data"]!["system_url"] = "http://...";
                    }

                    items.Add(item.ToJsonString());
                }

                return $"{question}: {string.Join(' ', items)}";
            }
        }
    }

    [PeerFact]
    public async Task Control_calls_are_answered_as_by_the_official_worker()
    {
        var differences = new List<string>();
        foreach (var (path, body) in TrainingCatalogue.Calls(Peers.TinyModel))
        {
            var ours = await CallAsync(_pair.Ours.Http, path, body);
            var official = await CallAsync(_pair.OfficialHttp, path, body);
            if (ours != official)
            {
                differences.Add($"{path} {body}\n  ours     {ours}\n  official {official}");
            }
        }

        Assert.True(differences.Count == 0, string.Join('\n', differences));
    }

    [PeerFact]
    public async Task A_request_that_is_aborted_by_its_id_ends_as_at_the_official_worker()
    {
        var (ours, official) = (await AbortedAsync(TrainingFixture.OurName), await AbortedAsync(TrainingFixture.OfficialName));
        Assert.Equal(official, ours);
        Assert.Contains("cancelled", ours, StringComparison.Ordinal);
    }

    [PeerFact]
    public async Task A_prompt_that_a_connector_around_others_kept_is_answered_as_by_the_official_worker()
    {
        var prompt = string.Join(',', Enumerable.Range(10, 101));
        var question = $"{{\"token_ids\":[{prompt}],\"sampling_options\":{{\"temperature\":0}},\"stop_conditions\":{{\"max_tokens\":8}}}}";
        await using var ours = await DirectWorker.ConnectAsync(_pair.Addresses[TrainingFixture.OurName]);
        await using var official = await DirectWorker.ConnectAsync(_pair.Addresses[TrainingFixture.OfficialName]);
        var comparison = new AnswerComparison(ours, official);
        await comparison.ExpectEqualAsync([question]);
        foreach (var http in (HttpClient[])[_pair.Ours.Http, _pair.OfficialHttp])
        {
            await CallAsync(http, "flush_cache", "{}"); // so that the files have the blocks, and the engines have not
        }

        await comparison.ExpectEqualAsync([question, question]);
        comparison.AssertNone();
    }

    [PeerFact]
    public async Task After_an_update_from_disk_the_tokens_are_those_of_the_new_weights_as_at_the_official_worker()
    {
        const string question = """
            {"token_ids":[1,2,3,4,5,6,7,8,9],"sampling_options":{"temperature":0},"stop_conditions":{"max_tokens":16,"ignore_eos":true}}
            """;
        await using var ours = await DirectWorker.ConnectAsync(_pair.Addresses[TrainingFixture.OurName]);
        await using var official = await DirectWorker.ConnectAsync(_pair.Addresses[TrainingFixture.OfficialName]);
        var before = await ours.AskAsync(question);
        var update = new JsonObject { ["model_path"] = _pair.NewWeights, ["weight_version"] = "step-1" }.ToJsonString();
        foreach (
            var (path, body) in ((string, string)[])
                [
                    ("pause_generation", "{}"),
                    ("update_weights_from_disk", update),
                    ("get_weight_version", "{}"),
                    ("resume_generation", "{}"),
                ]
        )
        {
            Assert.Equal(await CallAsync(_pair.OfficialHttp, path, body), await CallAsync(_pair.Ours.Http, path, body));
        }

        var after = await ours.AskAsync(question);
        Assert.False(JsonNode.DeepEquals(before!["choice 0"]!["token_ids"], after!["choice 0"]!["token_ids"]));
        Assert.True(JsonNode.DeepEquals(await official.AskAsync(question), after), after.ToJsonString());
    }

    private async Task<string> AbortedAsync(string name)
    {
        const string id = "to-be-aborted";
        const string question = "{\"token_ids\":[1,2,3],\"stop_conditions\":{\"max_tokens\":900,\"ignore_eos\":true}}";
        using var limit = new CancellationTokenSource(Limit);
        await using var client = await WorkerClient.ConnectAsync(_pair.Addresses[name], PayloadCodec.MessagePack, limit.Token);
        await using var call = await client.CallAsync(Encoding.UTF8.GetBytes(question), limit.Token, id);
        var last = "";
        var isAborted = false;
        await foreach (var item in call.ReadAsync(limit.Token))
        {
            if (!isAborted)
            {
                isAborted = true;
                var answer = await CallAsync(HttpOf(name), "abort_request", $"{{\"request_id\":\"{id}\"}}");
                Assert.Equal(200, answer.Status);
            }

            // How far it came is chance.
            item["data"]?.AsObject().Remove("completion_usage");
            item["data"]?.AsObject().Remove("token_ids");
            last = item.ToJsonString();
        }

        return $"{last} {call.IsComplete}";
    }

    private HttpClient HttpOf(string name) => name == TrainingFixture.OurName ? _pair.Ours.Http : _pair.OfficialHttp;

    /// <summary>The generate endpoint's address ends with its name.</summary>
    private string AddressOf(string name, string endpoint) => _pair.Addresses[name].Replace("generate", endpoint, StringComparison.Ordinal);

    private static async Task<(int Status, string Body)> CallAsync(HttpClient http, string path, string body)
    {
        using var response = await http.PostAsync($"/engine/{path}", new StringContent(body, Encoding.UTF8));
        return ((int)response.StatusCode, await response.Content.ReadAsStringAsync());
    }
}
