using System.Net;
using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.ModelCards;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Transports.Client;

namespace Dynamo.Vllm.PeerTests;

/// <summary>A worker of ours that tokenizes itself beside the official one. The last test ends ours.</summary>
[Trait("Category", "Peers")]
[TestCaseOrderer(DeclarationOrder.Type, DeclarationOrder.Assembly)]
public sealed class TextTests(TextFixture pair) : IClassFixture<TextFixture>
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(2);

    [PeerFact]
    public async Task Chats_are_answered_as_by_the_official_worker_in_one_piece_and_as_a_stream()
    {
        var differences = new List<string>();
        foreach (var request in TextCatalogue.Chats)
        {
            var (ours, official) = (
                await WholeAsync(NamedPairFixture.OurName, request),
                await WholeAsync(NamedPairFixture.OfficialName, request)
            );
            Compare(differences, request, ours, official);
            Compare(
                differences,
                request,
                await StreamAsync(NamedPairFixture.OurName, request),
                await StreamAsync(NamedPairFixture.OfficialName, request)
            );
        }

        Assert.True(differences.Count == 0, string.Join('\n', differences));
    }

    [PeerFact]
    public async Task Completions_have_the_official_worker_s_text_in_the_form_that_its_frontend_can_read()
    {
        foreach (var request in TextCatalogue.Completions)
        {
            var (status, _) = await pair.AskAsync(TextFixture.Completion, NamedPairFixture.OfficialName, request);
            Assert.True(status >= HttpStatusCode.BadRequest, $"the official worker answers {request.ToJsonString()}");
            var ours = await pair.AskAsync(TextFixture.Completion, NamedPairFixture.OurName, request);
            Assert.Equal(HttpStatusCode.OK, ours.Status);
            var prompts = request["prompt"] is JsonArray list && IsTexts(list) ? list.Count : 1;
            Assert.Equal(prompts, ours.Body["choices"]!.AsArray().Count);
            foreach (var choice in ours.Body["choices"]!.AsArray())
            {
                var direct = await DirectAsync(NamedPairFixture.OfficialName, OfficialForm(request, choice!["index"]!.GetValue<int>()));
                Assert.Equal(direct["choice 0"]!["text"]!.GetValue<string>(), choice["text"]!.GetValue<string>());
                Assert.Equal(direct["choice 0"]!["finish_reason"]!.GetValue<string>(), choice["finish_reason"]!.GetValue<string>());
            }
        }
    }

    [PeerFact]
    public async Task Requests_without_a_frontend_are_answered_as_by_the_official_worker()
    {
        var differences = new List<string>();
        foreach (var body in TextCatalogue.Direct)
        {
            Compare(
                differences,
                JsonNode.Parse(body)!.AsObject(),
                await DirectAsync(NamedPairFixture.OurName, body),
                await DirectAsync(NamedPairFixture.OfficialName, body)
            );
        }

        Assert.True(differences.Count == 0, string.Join('\n', differences));
        foreach (var (body, text) in TextCatalogue.DirectRefused)
        {
            var (ours, official) = (
                await DirectAsync(NamedPairFixture.OurName, body),
                await DirectAsync(NamedPairFixture.OfficialName, body)
            );
            Assert.Equal("InvalidRequest", AnswerComparison.ClassOf(official));
            Assert.Equal("InvalidRequest", AnswerComparison.ClassOf(ours));
            Assert.Contains(text, ours["error"]!["message"]!.GetValue<string>(), StringComparison.Ordinal);
        }
    }

    [PeerFact]
    public void Our_card_equals_the_official_one_but_for_the_name()
    {
        var (ours, official) = (pair.CardWithoutName(NamedPairFixture.OurName), pair.CardWithoutName(NamedPairFixture.OfficialName));
        Assert.Equal(CanonicalJson.Write(official), CanonicalJson.Write(ours));
        Assert.Equal(ModelCardChecksum.Compute(official), ModelCardChecksum.Compute(ours));
        Assert.Equal(("Text", "Chat | Completions"), (Value("model_input"), Value("model_type")));

        string Value(string name) => ours[name]!.GetValue<string>();
    }

    [PeerFact]
    public async Task A_client_that_leaves_takes_its_request_out_of_the_engine()
    {
        using var leaving = new CancellationTokenSource();
        var response = await pair.PostAsync(TextFixture.Chat, NamedPairFixture.OurName, TextCatalogue.Long, leaving.Token);
        using (var stream = await response.Content.ReadAsStreamAsync(leaving.Token))
        {
            Assert.NotEqual(0, await stream.ReadAsync(new byte[1], leaving.Token));
            Assert.Equal(1, await RunningAsync());
        }

        response.Dispose();
        await Polling.UntilAsync("the engine goes on with a request that nobody reads", Limit, async () => await RunningAsync() == 0);
        await Polling.UntilAsync(
            "the request is not counted as cancelled",
            Limit,
            async () => await pair.Ours.MetricAsync("dynamo_component_cancellation_total") == 1
        );
    }

    [PeerFact]
    public async Task Each_client_of_an_engine_that_is_killed_gets_an_answer()
    {
        await using var worker = WorkerProcess.StartSimulated(
            pair.Store,
            ["--served-model-name", "simulated", "--use-vllm-tokenizer", "--simulated-step-time-ms", "50"],
            Peers.Variables(pair.Store)
        );
        await worker.ReadyAsync(Limit);
        await pair.Frontend.WaitAsync(
            "the worker on the simulated engine is not served",
            Limit,
            async () => (await pair.AskAsync(TextFixture.Chat, "simulated", TextCatalogue.Probe)).Status == HttpStatusCode.OK
        );
        var responses = await Task.WhenAll(
            Enumerable.Range(0, 4).Select(_ => pair.PostAsync(TextFixture.Chat, "simulated", TextCatalogue.Long))
        );
        using (var kill = System.Diagnostics.Process.GetProcessById(worker.FindEngineCore()))
        {
            kill.Kill();
        }

        foreach (var response in responses)
        {
            var answer = TextAnswer.OfEvents(await response.Content.ReadAsStringAsync().WaitAsync(Limit));
            Assert.True((bool?)answer["done"], answer.ToJsonString());
            Assert.Equal(503, answer["error"]!["code"]!.GetValue<int>());
            response.Dispose();
        }

        Assert.Equal(1, await worker.Process.ExitCodeAsync(Limit));
    }

    [PeerFact]
    public async Task Streams_that_run_when_the_stop_comes_are_finished_with_the_official_worker_s_text()
    {
        var official = StreamAsync(NamedPairFixture.OfficialName, TextCatalogue.Long);
        using var response = await pair.PostAsync(TextFixture.Chat, NamedPairFixture.OurName, TextCatalogue.Long);
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        pair.Ours.Process.Signal("TERM");
        var ours = TextAnswer.OfEvents(await response.Content.ReadAsStringAsync().WaitAsync(Limit));
        Assert.Equal("length", ours["choice 0"]!["finish_reason"]!.GetValue<string>());
        Assert.Equal((await official)["choice 0"]!.ToJsonString(), ours["choice 0"]!.ToJsonString());
        Assert.Equal(0, await pair.Ours.Process.ExitCodeAsync(Limit));
    }

    private async Task<double> RunningAsync() => await pair.Ours.MetricAsync("vllm:num_requests_running");

    private async Task<JsonNode> WholeAsync(string name, JsonObject request)
    {
        var (status, body) = await pair.AskAsync(TextFixture.Chat, name, request);
        return new JsonObject { ["status"] = (int)status, ["body"] = TextAnswer.Whole(body) };
    }

    private async Task<JsonObject> StreamAsync(string name, JsonObject request)
    {
        var body = request.DeepClone().AsObject();
        body["stream"] = true;
        body["stream_options"] = new JsonObject { ["include_usage"] = true };
        using var response = await pair.PostAsync(TextFixture.Chat, name, body);
        var answer = TextAnswer.OfEvents(await response.Content.ReadAsStringAsync());
        answer["status"] = (int)response.StatusCode;
        return answer;
    }

    private async Task<JsonObject> DirectAsync(string name, string body)
    {
        using var limit = new CancellationTokenSource(Limit);
        await using var client = await WorkerClient.ConnectAsync(pair.Addresses[name], PayloadCodec.MessagePack, limit.Token);
        await using var call = await client.CallAsync(Encoding.UTF8.GetBytes(body), limit.Token);
        var items = new List<JsonObject>();
        await foreach (var item in call.ReadAsync(limit.Token))
        {
            items.Add(item);
        }

        var answer = TextAnswer.OfItems(items);
        var asked = JsonNode.Parse(body)!;
        if ((asked["id"] ?? asked["request_id"]) is { } id)
        {
            Assert.All(items, item => Assert.Equal(id.GetValue<string>(), item["data"]!["id"]!.GetValue<string>()));
        }

        return answer;
    }

    /// <summary>The prompt of one choice for a worker that is asked without a frontend, which splits lists.</summary>
    private static string OfficialForm(JsonObject request, int index)
    {
        var body = request.DeepClone().AsObject();
        if (body["prompt"] is JsonArray list)
        {
            body["prompt"] = IsTexts(list) ? list[index]!.GetValue<string>() : TextCatalogue.TextOfTokens;
        }

        return body.ToJsonString();
    }

    private static bool IsTexts(JsonArray list) => list[0]!.GetValueKind() == System.Text.Json.JsonValueKind.String;

    /// <summary>Of several choices the official worker counts those tokens that came before the last item: a race.</summary>
    private static void Compare(List<string> differences, JsonObject request, JsonNode ours, JsonNode official)
    {
        if (request["n"] is JsonValue choices && choices.TryGetValue<int>(out var count) && count > 1)
        {
            foreach (var answer in (JsonNode[])[ours, official])
            {
                ((answer["body"] ?? answer) as JsonObject)?.Remove("usage");
            }
        }

        if (!JsonNode.DeepEquals(ours, official))
        {
            differences.Add($"{Short(request)}\n  ours     {Short(ours)}\n  official {Short(official)}");
        }
    }

    private static string Short(JsonNode node) => node.ToJsonString() is var text && text.Length <= 500 ? text : text[..500] + "...";
}
