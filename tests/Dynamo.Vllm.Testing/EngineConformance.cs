using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Transports.Client;
using Xunit;

namespace Dynamo.Vllm.Testing;

/// <summary>What every engine does on every drive: the rules for one of each kind of request, one by one and many at once.</summary>
/// <remarks>
/// And the same answers and counts on every drive of one engine. The suite runs on the simulated engine and on real vLLM.
/// </remarks>
public static class EngineConformance
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(2);

    /// <summary>Counts that do not depend on time. The one of latencies has a value for every token but the first.</summary>
    private static readonly string[] Counts =
    [
        "vllm:generation_tokens_total",
        "vllm:prompt_tokens_total",
        "vllm:request_success_total",
        "vllm:time_to_first_token_seconds_count",
        "vllm:inter_token_latency_seconds_count",
        "vllm:inter_token_latency_seconds_bucket",
        "vllm:request_generation_tokens_sum",
        "vllm:e2e_request_latency_seconds_count",
        "vllm:request_decode_time_seconds_count",
        "vllm:prefix_cache_queries_total",
    ];

    private static readonly ConformanceCase[] Cases =
    [
        new("""{"sampling_options":{"temperature":0}}"""),
        new("""{"sampling_options":{"temperature":0},"stop_conditions":{"max_tokens":1,"ignore_eos":true}}""", 1, "length"),
        new("""{"sampling_options":{"temperature":0},"stop_conditions":{"max_tokens":2,"ignore_eos":true}}""", 2, "length"),
        new("""{"sampling_options":{"temperature":0},"stop_conditions":{"max_tokens":200,"ignore_eos":true}}""", 200, "length"),
        new(
            """{"sampling_options":{"temperature":0},"stop_conditions":{"max_tokens":200,"stop_token_ids_hidden":[301,302,303,304,305,306,307,308,309,310,311,312,313,314,315]}}"""
        ),
        new("""{"sampling_options":{"temperature":0},"stop_conditions":{"max_tokens":20,"min_tokens":20}}""", 20, "length"),
        new("""{"sampling_options":{"temperature":0.8,"seed":7},"stop_conditions":{"max_tokens":30,"ignore_eos":true}}""", 30, "length"),
        new(
            """{"sampling_options":{"temperature":0},"output_options":{"logprobs":2},"stop_conditions":{"max_tokens":9,"ignore_eos":true}}""",
            9,
            "length",
            Field: "log_probs"
        ),
        new(
            """{"sampling_options":{"temperature":0},"output_options":{"prompt_logprobs":1},"stop_conditions":{"max_tokens":5,"ignore_eos":true}}""",
            5,
            "length"
        ),
        new(
            """{"sampling_options":{"temperature":0.9,"seed":3,"n":3},"stop_conditions":{"max_tokens":7,"ignore_eos":true}}""",
            7,
            "length",
            Choices: 3
        ),
        new("""{"extra_args":{"vllm_tito":{"sampling_params":{"temperature":0,"max_tokens":6,"ignore_eos":true}}}}""", 6, "length"),
        new(
            """{"extra_args":{"vllm_tito":{"sampling_params":{"temperature":0,"max_tokens":8,"stop":["no such text"],"ignore_eos":true}}}}""",
            8,
            "length"
        ),
        new("""{"sampling_options":{"temperature":-1}}""", Error: "InvalidArgument"),
        new("""{"token_ids":[]}""", Error: "InvalidArgument"),
    ];

    /// <summary>Put together, many of a batch: no case that is refused.</summary>
    private static readonly ConformanceCase[] Served = [.. Cases.Where(item => item.Error is null)];

    /// <param name="drive">The drive under test, which must be the one that is used.</param>
    /// <param name="start">A worker on this discovery store with these flags.</param>
    /// <param name="startLimit">Until then it is ready.</param>
    public static async Task<IReadOnlyList<string>> OfAsync(string drive, Func<string, string[], WorkerProcess> start, TimeSpan startLimit)
    {
        using var store = new TemporaryFolder();
        await using var worker = start(store.Path, ["--engine-drive", drive]);
        await worker.ReadyAsync(startLimit);
        Assert.DoesNotContain(worker.Process.Lines, line => line.Contains("drive is used instead", StringComparison.Ordinal));
        return await CollectAsync(store.Path, worker);
    }

    public static void AssertSame(IReadOnlyList<string> expected, IReadOnlyList<string> actual)
    {
        Assert.Equal(expected.Count, actual.Count);
        Assert.All(expected.Zip(actual), pair => Assert.Equal(pair.First, pair.Second));
    }

    private static async Task<IReadOnlyList<string>> CollectAsync(string store, WorkerProcess worker)
    {
        await using var client = await WorkerClient.ConnectAsync(
            FileDirectoryReader.FindTcp(store, "generate")[0],
            PayloadCodec.MessagePack,
            default
        );
        var answers = new List<string>();
        foreach (var (item, number) in Cases.Select((item, number) => (item, number)))
        {
            answers.Add(await AskAsync(client, item, Enumerable.Range(10 + number, 40)));
        }

        // Many in each step, of all kinds, that come and go.
        var together = Enumerable
            .Range(0, 48)
            .Select(i => AskAsync(client, Served[i % Served.Length], Enumerable.Range(100 + i, 3 + (i % 7))))
            .ToList();
        answers.AddRange(await Task.WhenAll(together));
        await IdleAsync(worker);
        var metrics = await worker.Http.GetStringAsync("/metrics");
        answers.AddRange(
            Counts.Select(family =>
            {
                var sum = MetricSamples.Sum(metrics, family, family.EndsWith("bucket", StringComparison.Ordinal) ? "+Inf" : "");
                return string.Create(CultureInfo.InvariantCulture, $"{family} {sum}");
            })
        );

        // After the counts: how far these come depends on time. What they leave behind is that the engine goes on with nothing.
        await Task.WhenAll(Enumerable.Range(0, 8).Select(i => LeaveAsync(client, Enumerable.Range(300 + i, 5))));
        await IdleAsync(worker);
        return answers;
    }

    private static Task IdleAsync(WorkerProcess worker) =>
        Polling.UntilAsync(
            "requests are still counted as running",
            Limit,
            async () => await worker.MetricAsync("vllm:num_requests_running") == 0
        );

    private static byte[] Body(string request, IEnumerable<int> prompt)
    {
        var body = JsonNode.Parse(request)!.AsObject();
        body.TryAdd("token_ids", new JsonArray([.. prompt.Select(token => JsonValue.Create(token))]));
        body.TryAdd("stop_conditions", new JsonObject { ["max_tokens"] = 12 });
        return Encoding.UTF8.GetBytes(body.ToJsonString());
    }

    private static async Task LeaveAsync(WorkerClient client, IEnumerable<int> prompt)
    {
        const string endless = """{"sampling_options":{"temperature":0},"stop_conditions":{"max_tokens":1000,"ignore_eos":true}}""";
        using var limit = new CancellationTokenSource(Limit);
        await using var call = await client.CallAsync(Body(endless, prompt), limit.Token);
        await foreach (var item in call.ReadAsync(limit.Token))
        {
            Assert.NotNull((item["data"] ?? item)["token_ids"]);
            break;
        }

        await call.KillAsync(limit.Token);
    }

    /// <summary>The answer by the rules of its case; how often its tokens came apart is left out.</summary>
    private static async Task<string> AskAsync(WorkerClient client, ConformanceCase item, IEnumerable<int> prompt)
    {
        using var limit = new CancellationTokenSource(Limit);
        await using var call = await client.CallAsync(Body(item.Request, prompt), limit.Token);
        var choices = await ChoicesAsync(call, limit.Token);
        var answer = $"{item.Request}: {string.Join(' ', choices.Values.Select(choice => choice.ToJsonString()))}";
        Assert.True(call.IsComplete, $"not complete: {answer}");
        Assert.True(item.Choices == choices.Count, answer);
        foreach (var choice in choices.Values)
        {
            Check(item, choice, answer);
            if (choices.Count > 1)
            {
                choice.Remove("completion_usage"); // counts all choices up to then, so it depends on which of them ends first
            }
        }

        return $"{item.Request}: {string.Join(' ', choices.Values.Select(choice => choice.ToJsonString()))}";
    }

    private static void Check(ConformanceCase item, JsonObject choice, string answer)
    {
        if (item.Error is not null)
        {
            Assert.True(choice["error"]?.ToJsonString().Contains(item.Error, StringComparison.Ordinal) == true, answer);
            Assert.Null(choice["token_ids"]);
            return;
        }

        var tokens = (choice["token_ids"] as JsonArray)?.Count ?? 0;
        Assert.True(tokens == (item.Tokens ?? tokens) && tokens > 0, answer);
        var reason = (string?)choice["finish_reason"];
        Assert.True(reason is "stop" or "length" && reason == (item.FinishReason ?? reason), answer);
        Assert.True(item.Field is null || (choice[item.Field] as JsonArray)?.Count == tokens, answer);
    }

    private static async Task<SortedDictionary<int, JsonObject>> ChoicesAsync(WorkerCall call, CancellationToken cancellationToken)
    {
        var choices = new SortedDictionary<int, JsonObject>();
        await foreach (var item in call.ReadAsync(cancellationToken))
        {
            var data = item["data"] as JsonObject ?? item; // an error item has none
            var index = (int?)data["index"] ?? 0;
            choices.TryAdd(index, []);
            Assert.True(choices[index]["finish_reason"] is null, $"something after the end: {data.ToJsonString()}");
            foreach (var (name, value) in data.ToArray())
            {
                data.Remove(name);
                if (value is JsonArray part && choices[index][name] is JsonArray whole)
                {
                    foreach (var entry in part.ToArray())
                    {
                        part.Remove(entry);
                        whole.Add(entry);
                    }
                }
                else if (value is not null)
                {
                    choices[index][name] = value;
                }
            }
        }

        return choices;
    }
}
