using System.Net;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PeerTests;

/// <summary>What flags of the pair do: cards, pieces of answers, thinking, the order of requests.</summary>
public sealed partial class PairTests
{
    // " world", by which the tiny model's thinking is ended.
    private static readonly int[] EndOfThinking = [324, 272, 838];

    [PeerFact]
    public void Our_card_equals_the_official_one_in_parsers_thinking_and_structural_tags()
    {
        var official = _pair.CardOf(_pair.OfficialInstance);
        Assert.Equal(CanonicalJson.Write(official), CanonicalJson.Write(_pair.CardOf(_pair.OurInstance)));
        var runtime = official["runtime_config"]!;
        // What the flags ask for is there at all.
        Assert.Equal("hermes", runtime["tool_call_parser"]!.GetValue<string>());
        Assert.Equal("basic", runtime["reasoning_parser"]!.GetValue<string>());
        Assert.Equal("enabled", runtime["runtime_data"]!["default_thinking_mode"]!.GetValue<string>());
        Assert.Equal("strict", runtime["structural_tag"]!["schema"]!.GetValue<string>());
        Assert.False(runtime["exclude_tools_when_tool_choice_none"]!.GetValue<bool>());
        Assert.Equal(4, runtime["runtime_data"]!["stream_interval"]!.GetValue<int>());
    }

    [PeerFact]
    public async Task Answers_come_in_the_official_worker_s_pieces()
    {
        var official = await PiecesAsync(_pair.OfficialInstance);
        Assert.Equal([1, 4, 4, 2], official); // the first at once, then four at a time
        var ours = Array.Empty<int>();
        // A reader that is behind, as on a busy machine, gets several pieces in one.
        await Polling.UntilAsync(
            "the pieces differ",
            Limit,
            async () => (ours = await PiecesAsync(_pair.OurInstance)).SequenceEqual(official),
            () => string.Join(' ', ours)
        );
    }

    [PeerFact]
    public async Task Thinking_is_ended_by_the_budget_and_constraints_wait_for_its_end_as_at_the_official_worker()
    {
        const string Thinking =
            """{"token_ids":[1,45,289,81,319],"stop_conditions":{"max_tokens":12,"ignore_eos":true,"max_thinking_tokens":3}}""";
        const string Constrained =
            """{"token_ids":[1,45,375,319],"stop_conditions":{"max_tokens":6},"sampling_options":{"temperature":0.0,"guided_decoding":{"choice":["abc"]}}""";
        await using var ours = await DirectWorker.ConnectAsync(_pair.AddressOf(_pair.OurInstance));
        await using var official = await DirectWorker.ConnectAsync(_pair.AddressOf(_pair.OfficialInstance));
        string[] bodies =
        [
            Greedy(Thinking),
            Greedy(Thinking.Replace(",\"max_thinking_tokens\":3", "", StringComparison.Ordinal)),
            Greedy(Thinking.Replace("_tokens\":3", "_tokens\":0", StringComparison.Ordinal)),
            Greedy(Thinking.Replace("_tokens\":3", "_tokens\":-1", StringComparison.Ordinal)),
            Constrained + "}",
            Constrained + ",\"reasoning_ended\":true}",
            Constrained + ",\"reasoning_ended\":false}",
            Constrained + ",\"extra_args\":{\"reasoning_ended\":true}}",
            Constrained + ",\"reasoning_parser_kwargs\":{\"chat_template_kwargs\":{\"enable_thinking\":false}}}",
            Constrained + ",\"extra_args\":{\"reasoning_parser_kwargs\":{\"chat_template_kwargs\":{\"enable_thinking\":false}}}}",
        ];
        var comparison = new AnswerComparison(ours, official);
        await comparison.ExpectEqualAsync(bodies);
        comparison.AssertNone();

        // The fields do something: thinking is cut by the word that ends it, and what is constrained from the start is something else.
        var answers = new List<string>();
        foreach (var body in bodies)
        {
            answers.Add(string.Join(',', (await ours.AskAsync(body))!["choice 0"]?["token_ids"]?.AsArray().Select(id => $"{id}") ?? []));
        }

        var end = string.Join(',', EndOfThinking);
        Assert.Contains(end, answers[0], StringComparison.Ordinal);
        Assert.DoesNotContain(end, answers[1], StringComparison.Ordinal);
        Assert.Equal(answers[4], answers[6]); // still thinking
        Assert.NotEqual(answers[4], answers[5]);
        Assert.Equal(answers[5], answers[7]);
        Assert.Equal(answers[5], answers[8]);
    }

    [PeerFact]
    public async Task Requests_of_a_higher_priority_overtake_as_at_the_official_worker()
    {
        Assert.Equal("urgent usual patient", await OrderAsync(_pair.OfficialInstance, _pair.OfficialHttp));
        Assert.Equal("urgent usual patient", await OrderAsync(_pair.OurInstance, _pair.Ours.Http));
    }

    [PeerFact]
    public async Task A_repetition_ends_an_answer_in_a_word_that_the_frontend_can_read()
    {
        const string Repeating =
            """{"max_tokens":40,"temperature":0,"ignore_eos":true,"allowed_token_ids":[45],"repetition_detection":{"max_pattern_size":2,"min_pattern_size":1,"min_count":3}}""";
        const string Body = """{"token_ids":[1,45,375,319],"extra_args":{"vllm_tito":{"sampling_params":""" + Repeating + "}}}";
        await using var ours = await DirectWorker.ConnectAsync(_pair.AddressOf(_pair.OurInstance));
        await using var official = await DirectWorker.ConnectAsync(_pair.AddressOf(_pair.OfficialInstance));
        var (one, other) = ((await ours.AskAsync(Body))!, (await official.AskAsync(Body))!);
        Assert.Equal("repetition", other["choice 0"]!["finish_reason"]!.GetValue<string>());
        Assert.Equal("length", one["choice 0"]!["finish_reason"]!.GetValue<string>());
        one["choice 0"]!["finish_reason"] = "repetition";
        Assert.Equal(CanonicalJson.Write(other), CanonicalJson.Write(one)); // three tokens, and why

        var request = new JsonObject
        {
            ["model"] = "tiny",
            ["token_ids"] = new JsonArray(1, 45, 375, 319),
            ["sampling_params"] = JsonNode.Parse(Repeating),
        };
        // On this route the frontend takes no instance from its caller: it asks both in turn, and only ours is read.
        using var first = await _pair.Frontend.PostAsync(Path, request.DeepClone().AsObject());
        using var second = await _pair.Frontend.PostAsync(Path, request.DeepClone().AsObject());
        HttpResponseMessage[] responses = [first, second];
        Assert.Single(responses, response => response.StatusCode == HttpStatusCode.InternalServerError);
        var read = Assert.Single(responses, response => response.StatusCode == HttpStatusCode.OK);
        var answer = JsonNode.Parse(await read.Content.ReadAsStringAsync())!["choices"]![0]!;
        Assert.Equal("[45,45,45] length", $"{answer["token_ids"]!.ToJsonString()} {answer["finish_reason"]}");
    }

    private static string Greedy(string body) => $"{body[..^1]},\"sampling_options\":{{\"temperature\":0.0}}}}";

    /// <summary>How many tokens each item of an answer of eleven brought.</summary>
    private async Task<int[]> PiecesAsync(ulong instance)
    {
        var body =
            """{"token_ids":[1,45,375,319],"stop_conditions":{"max_tokens":11,"ignore_eos":true},"sampling_options":{"temperature":0.0}}""";
        var items = await DirectWorker.ItemsAsync(_pair.AddressOf(instance), body);
        return [.. items.Select(item => item["data"]!["token_ids"]!.AsArray().Count)];
    }

    /// <summary>Two long answers take all places; three requests wait, the most patient one first. In which order are they done?</summary>
    private async Task<string> OrderAsync(ulong instance, HttpClient http)
    {
        await using var worker = await DirectWorker.ConnectAsync(_pair.AddressOf(instance));
        Task[] running = [worker.AskAsync(Asking(800, 0)), worker.AskAsync(Asking(900, 0))];
        await UntilAsync("vllm:num_requests_running", 2);
        var order = new List<string>();
        var waiting = new List<Task>();
        foreach (var (name, priority) in ((string, int)[])[("patient", -3), ("usual", 0), ("urgent", 5)])
        {
            waiting.Add(NoteAsync(name, worker.AskAsync(Asking(10, priority))));
            await UntilAsync("vllm:num_requests_waiting", waiting.Count);
        }

        Assert.DoesNotContain(running, answer => answer.IsCompleted); // else nobody had to wait
        await Task.WhenAll([.. running, .. waiting]).WaitAsync(Limit);
        return string.Join(' ', order);

        async Task NoteAsync(string name, Task answer)
        {
            await answer;
            lock (order)
            {
                order.Add(name);
            }
        }

        Task UntilAsync(string family, int count) =>
            Polling.UntilAsync(
                $"{family} is not {count}",
                Limit,
                async () => MetricSamples.Sum(await http.GetStringAsync("/metrics"), family) == count
            );

        static string Asking(int tokens, int priority) =>
            $$$"""{"token_ids":[1,{{{tokens}}}],"stop_conditions":{"max_tokens":{{{tokens}}},"ignore_eos":true},"routing":{"priority":{{{priority}}}}}""";
    }
}
