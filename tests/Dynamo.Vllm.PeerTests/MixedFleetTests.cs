using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol.ModelCards;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Telemetry;

namespace Dynamo.Vllm.PeerTests;

/// <summary>The official frontend must not see a difference between our workers and the official one.</summary>
[Collection(MixedFleet.Name)]
[Trait("Category", "Peers")]
public sealed class MixedFleetTests
{
    private readonly MixedFleetFixture _fleet;

    public MixedFleetTests(MixedFleetFixture fleet) => _fleet = fleet;

    [PeerFact]
    public void Our_card_equals_the_official_one_field_for_field()
    {
        var cards = _fleet
            .Records("v1/mdc")
            .ToDictionary(record => record["instance_id"]!.GetValue<ulong>(), record => record["card_json"]!.AsObject());
        var ours = cards[_fleet.InstanceOf(_fleet.First)];
        var official = cards[_fleet.OfficialInstance];
        Assert.Equal(3, cards.Count);
        Assert.Single(cards.Values.Select(ModelCardChecksum.Compute).Distinct());
        Assert.Equal(CanonicalJson.Write(official), CanonicalJson.Write(ours));
    }

    [PeerFact]
    public async Task Every_answer_equals_the_official_worker_s()
    {
        var differences = new List<string>();
        foreach (var (path, body) in RequestCatalogue.All)
        {
            var ours = await AnswerAsync(path, body, _fleet.InstanceOf(_fleet.First));
            var official = await AnswerAsync(path, body, _fleet.OfficialInstance);
            if (ours != official)
            {
                differences.Add($"{body.ToJsonString()}\n  ours     {ours}\n  official {official}");
            }
        }

        Assert.True(RequestCatalogue.All.Count >= 50);
        Assert.True(differences.Count == 0, string.Join('\n', differences));
    }

    [PeerFact]
    public async Task Sixty_four_streams_at_once_all_end()
    {
        var counts = await Task.WhenAll(
            Enumerable
                .Range(0, 64)
                .Select(async i =>
                {
                    using var response = await _fleet.RoundRobin.PostAsync("/v1/completions", Stream($"stream {i}", 24));
                    return (await response.Content.ReadAsStringAsync())
                        .Split('\n')
                        .Count(line => line.StartsWith("data: [DONE]", StringComparison.Ordinal));
                })
        );
        Assert.All(counts, count => Assert.Equal(1, count));
    }

    [PeerFact]
    public async Task All_three_workers_get_traffic()
    {
        await Task.WhenAll(
            Enumerable
                .Range(0, 12)
                .Select(async i => (await _fleet.RoundRobin.PostAsync("/v1/completions", Stream($"traffic {i}", 2))).Dispose())
        );
        Assert.True(await _fleet.First.MetricAsync("dynamo_component_requests_total", "\"generate\"") >= 4);
        Assert.True(await _fleet.Second.MetricAsync("dynamo_component_requests_total", "\"generate\"") >= 4);
        Assert.Contains("dynamo_component_requests_total{", await _fleet.OfficialHttp.GetStringAsync("/metrics"), StringComparison.Ordinal);
    }

    [PeerFact]
    public async Task Two_thousand_requests_with_random_cancels_all_end_and_leave_the_engines_idle()
    {
        var random = new Random(11);
        var plans = Enumerable
            .Range(0, 2000)
            .Select(i =>
                (Prompt: $"request {i % 50}", Tokens: random.Next(1, 12), CancelAfter: random.Next(3) == 0 ? random.Next(1, 60) : 0)
            )
            .ToArray();
        var outcomes = new System.Collections.Concurrent.ConcurrentDictionary<string, int>();
        await Parallel.ForEachAsync(
            plans,
            new ParallelOptions { MaxDegreeOfParallelism = 64 },
            async (plan, _) =>
            {
                var outcome = await RunAsync(plan.Prompt, plan.Tokens, plan.CancelAfter);
                outcomes.AddOrUpdate(outcome, 1, (_, count) => count + 1);
            }
        );
        Assert.Equal(2000, outcomes.Values.Sum());
        Assert.True(outcomes.Keys.All(outcome => outcome is "done" or "cancelled"), string.Join(", ", outcomes));
        foreach (var worker in new[] { _fleet.First, _fleet.Second })
        {
            await Polling.UntilAsync(
                "the worker is not idle",
                TimeSpan.FromSeconds(30),
                async () =>
                    await worker.MetricAsync("vllm:num_requests_running") + await worker.MetricAsync("dynamo_component_inflight_requests")
                    == 0
            );
        }
    }

    [PeerFact]
    public async Task Our_metrics_hold_every_family_of_the_official_worker()
    {
        static HashSet<string> Families(string text) =>
            [.. text.Split('\n').Where(line => line.StartsWith("# TYPE ", StringComparison.Ordinal)).Select(line => line.Split(' ')[2])];
        var ours = Families(await _fleet.First.Http.GetStringAsync("/metrics"));
        var official = Families(await _fleet.OfficialHttp.GetStringAsync("/metrics"));
        Assert.Empty(official.Except(ours));
    }

    [PeerFact]
    public async Task Our_metrics_over_OTLP_are_the_official_worker_s()
    {
        // Both have served a request, so that what appears with the first one is there.
        foreach (var instance in new[] { _fleet.InstanceOf(_fleet.First), _fleet.OfficialInstance })
        {
            using var response = await _fleet.RoundRobin.PostAsync("/v1/completions", Stream("metrics", 4), instance);
            Assert.Contains("data: [DONE]", await response.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        }

        var ours = await LatestAsync(_fleet.OurMetrics);
        var official = await LatestAsync(_fleet.OfficialMetrics);

        Assert.Equal((official.Path, official.Scope), (ours.Path, ours.Scope));
        Assert.Equal(official.Resource, ours.Resource);
        var differences = official
            .Families.Values.Select(family => (Official: Shape(family), Ours: ours.Families.GetValueOrDefault(family.Name)))
            .Where(pair => pair.Ours is null || Shape(pair.Ours) != pair.Official)
            .Select(pair => $"official {pair.Official}\nours     {(pair.Ours is null ? "none" : Shape(pair.Ours))}");
        var text = string.Join('\n', differences);
        Assert.True(text.Length == 0, text);
        Assert.True(official.Families.Count > 50, $"{official.Families.Count} families");
    }

    private static Task<OtlpExport> LatestAsync(OtlpReceiver collector)
    {
        var seen = collector.Exports.Count;
        return collector.ExportAsync(
            export =>
                collector.Exports.Count > seen
                && ReferenceEquals(export, collector.Exports[^1])
                && export.Families.TryGetValue("vllm:request_success", out var ended)
                && ended.Series.Sum(series => series.Value) > 0,
            TimeSpan.FromSeconds(30)
        );
    }

    /// <summary>All of a family but its numbers and the values of its labels.</summary>
    private static string Shape(OtlpFamily family)
    {
        var labels = family
            .Series.Select(series => string.Join(',', series.Labels.Select(label => label.Split('=')[0])))
            .Distinct()
            .Order();
        var bounds = family.Series.Select(series => string.Join(' ', series.Bounds)).Distinct();
        var hasStart = family.Series.All(series => series.Start > 0);
        return string.Join(
            " | ",
            [family.Name, family.Kind, family.Description, string.Join(',', family.Metadata), .. labels, .. bounds, $"start {hasStart}"]
        );
    }

    private async Task<string> RunAsync(string prompt, int tokens, int cancelAfter)
    {
        using var cancel = cancelAfter > 0 ? new CancellationTokenSource(cancelAfter) : new CancellationTokenSource();
        try
        {
            using var response = await _fleet.RoundRobin.PostAsync(
                "/v1/completions",
                Stream(prompt, tokens),
                cancellationToken: cancel.Token
            );
            var text = await response.Content.ReadAsStringAsync(cancel.Token);
            return response.IsSuccessStatusCode && text.Contains("data: [DONE]", StringComparison.Ordinal)
                ? "done"
                : $"{(int)response.StatusCode} {text}";
        }
        catch (OperationCanceledException) when (cancel.IsCancellationRequested)
        {
            return "cancelled";
        }
    }

    private static JsonObject Stream(string prompt, int tokens) =>
        new()
        {
            ["model"] = "tiny",
            ["prompt"] = prompt,
            ["max_tokens"] = tokens,
            ["temperature"] = 0,
            ["stream"] = true,
            ["ignore_eos"] = true,
        };

    private async Task<string> AnswerAsync(string path, JsonObject body, ulong instance)
    {
        using var response = await _fleet.RoundRobin.PostAsync(path, body.DeepClone().AsObject(), instance);
        var text = await response.Content.ReadAsStringAsync();
        var answer = JsonNode.Parse(text)!.AsObject();
        foreach (var field in (string[])["id", "created"])
        {
            answer.Remove(field);
        }

        (answer["nvext"] as JsonObject)?.Remove("worker_id");
        // Which worker saw a prefix before is chance.
        (answer["usage"] as JsonObject)?.Remove("prompt_tokens_details");
        if (answer["nvext"]?["engine_data"]?["kv_cache_hit"] is JsonObject hit)
        {
            hit.Remove("reused_tokens");
        }

        return $"{(int)response.StatusCode} {answer.ToJsonString()}";
    }
}
