using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Transports.Client;
using Xunit;

namespace Dynamo.Vllm.Testing;

/// <summary>What a worker answers to one of each kind of request, and what
/// its metrics say of them then: the same with every drive.</summary>
public static class DriveAnswers
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

    private static readonly string[] Kinds =
    [
        """{"sampling_options":{"temperature":0}}""",
        """{"sampling_options":{"temperature":0},"stop_conditions":{"max_tokens":1}}""",
        """{"sampling_options":{"temperature":0},"stop_conditions":{"max_tokens":2}}""",
        """{"sampling_options":{"temperature":0},"stop_conditions":{"max_tokens":200,"ignore_eos":true}}""",
        """{"sampling_options":{"temperature":0},"stop_conditions":{"max_tokens":200,"stop_token_ids_hidden":[301,302,303,304,305,306,307,308,309,310,311,312,313,314,315]}}""",
        """{"sampling_options":{"temperature":0},"stop_conditions":{"max_tokens":20,"min_tokens":20}}""",
        """{"sampling_options":{"temperature":0.8,"seed":7},"stop_conditions":{"max_tokens":30,"ignore_eos":true}}""",
        """{"sampling_options":{"temperature":0},"output_options":{"logprobs":2},"stop_conditions":{"max_tokens":9,"ignore_eos":true}}""",
        """{"sampling_options":{"temperature":0},"output_options":{"prompt_logprobs":1},"stop_conditions":{"max_tokens":5,"ignore_eos":true}}""",
        """{"sampling_options":{"temperature":0.9,"seed":3,"n":3},"stop_conditions":{"max_tokens":7,"ignore_eos":true}}""",
        """{"sampling_options":{"temperature":-1}}""",
        """{"token_ids":[]}""",
    ];

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
        foreach (var (kind, number) in Kinds.Select((kind, number) => (kind, number)))
        {
            answers.Add($"{kind}: {await AskAsync(client, Body(kind, Enumerable.Range(10 + number, 40)))}");
        }

        // Many in each step, of all kinds, that come and go.
        var together = Enumerable
            .Range(0, 48)
            .Select(i => AskAsync(client, Body(Kinds[i % 10], Enumerable.Range(100 + i, 3 + (i % 7)))))
            .ToList();
        answers.AddRange((await Task.WhenAll(together)).Select((answer, i) => $"{i} of many, {Kinds[i % 10]}: {answer}"));
        await Polling.UntilAsync(
            "requests are still counted as running",
            Limit,
            async () => await worker.MetricAsync("vllm:num_requests_running") == 0
        );
        var metrics = await worker.Http.GetStringAsync("/metrics");
        answers.AddRange(
            Counts.Select(family =>
            {
                var sum = MetricSamples.Sum(metrics, family, family.EndsWith("bucket", StringComparison.Ordinal) ? "+Inf" : "");
                return string.Create(CultureInfo.InvariantCulture, $"{family} {sum}");
            })
        );
        return answers;
    }

    private static byte[] Body(string kind, IEnumerable<int> prompt)
    {
        var body = JsonNode.Parse(kind)!.AsObject();
        body.TryAdd("token_ids", new JsonArray([.. prompt.Select(token => JsonValue.Create(token))]));
        body.TryAdd("stop_conditions", new JsonObject { ["max_tokens"] = 12 });
        return Encoding.UTF8.GetBytes(body.ToJsonString());
    }

    /// <summary>Tokens and logprobs of each choice, how often they came apart left out; and everything that ends it.</summary>
    private static async Task<string> AskAsync(WorkerClient client, byte[] body)
    {
        using var limit = new CancellationTokenSource(Limit);
        await using var call = await client.CallAsync(body, limit.Token);
        var choices = new SortedDictionary<int, JsonObject>();
        await foreach (var item in call.ReadAsync(limit.Token))
        {
            var data = item["data"] as JsonObject ?? item; // an error item has none
            var index = (int?)data["index"] ?? 0;
            choices.TryAdd(index, []);
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

        foreach (var choice in choices.Values.Where(_ => choices.Count > 1))
        {
            choice.Remove("completion_usage"); // counts all choices up to then, so it depends on which of them ends first
        }

        return $"{(call.IsComplete ? "complete" : "incomplete")} "
            + $"{string.Join(' ', choices.Values.Select(choice => choice.ToJsonString()))}";
    }
}
