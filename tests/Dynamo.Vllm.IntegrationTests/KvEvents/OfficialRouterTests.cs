using System.Net;
using System.Text.Json.Nodes;

namespace Dynamo.Vllm.IntegrationTests.KvEvents;

using Dynamo.Vllm.Testing;

/// <summary>Two relays of ours behind the reference's frontend in KV mode: requests go where the relays say the prompt is cached.</summary>
public sealed class OfficialRouterTests
{
    private const string EventsApplied = "dynamo_component_kv_cache_events_applied";

    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    [PeerFact]
    public async Task The_official_router_follows_stores_removals_clears_losses_and_load()
    {
        using var store = new TemporaryFolder();
        await using var frontend = Frontend.Start(
            Peers.Variables(store.Path),
            "--router-mode",
            "kv",
            "--active-decode-blocks-threshold",
            "0.5"
        );
        await using var one = await RoutedWorker.StartAsync(store.Path, Card());
        await using var two = await RoutedWorker.StartAsync(store.Path, Card());
        await frontend.WaitAsync("the model is not listed", Limit, frontend.HasModelAsync);
        await frontend.WaitAsync(
            "the sources are not active",
            Limit,
            async () => await frontend.MetricAsync("dynamo_component_router_kv_zmq_ingress_sources", "state=\"active\"") == 2
        );

        var first = await TokensOfAsync(frontend, one, two, Prompt("alpha"));
        var second = await TokensOfAsync(frontend, one, two, Prompt("omega"));

        await Apply(frontend, 1, () => two.StoreAsync(first));
        await AssertGoesToAsync(frontend, two, one, Prompt("alpha"));
        await Apply(frontend, 1, () => one.StoreAsync(second));
        await AssertGoesToAsync(frontend, one, two, Prompt("omega"));

        await Apply(
            frontend,
            2,
            async () =>
            {
                await one.RemoveAsync(second);
                await two.StoreAsync(second);
            }
        );
        await AssertGoesToAsync(frontend, two, one, Prompt("omega"));

        // The store of a third prompt is lost on the way to the router; the next event shows the hole, and the query fills it.
        var third = await TokensOfAsync(frontend, one, two, Prompt("sigma"));
        var fourth = await TokensOfAsync(frontend, one, two, Prompt("kappa"));
        one.Plane.Loses = true;
        await one.StoreAsync(third);
        await frontend.WaitAsync(
            "the relay has not seen the store",
            Limit,
            async () => Value(await one.MetricsAsync(), "outcome=\"relayed\"") == 3
        );
        one.Plane.Loses = false;
        await Apply(frontend, 2, () => one.StoreAsync(fourth));
        await AssertGoesToAsync(frontend, one, two, Prompt("sigma"));
        await AssertGoesToAsync(frontend, one, two, Prompt("kappa"));
        Assert.Equal(1, Value(await one.MetricsAsync(), "answer=\"events\""));

        await Apply(
            frontend,
            2,
            async () =>
            {
                await one.ClearAsync();
                await two.StoreAsync(third);
            }
        );
        await AssertGoesToAsync(frontend, two, one, Prompt("sigma"));

        foreach (
            var line in (await frontend.Http.GetStringAsync("/metrics"))
                .Split('\n')
                .Where(line => line.StartsWith(EventsApplied, StringComparison.Ordinal))
        )
        {
            Assert.True(line.Contains("status=\"ok\"", StringComparison.Ordinal) || line.EndsWith(" 0", StringComparison.Ordinal), line);
        }

        await AssertLoadDecidesAsync(frontend, one, two);
        await AssertFirstTokensArriveAsync(frontend);
    }

    /// <summary>Above half of its blocks a worker gets nothing; with both above, requests are refused.</summary>
    private static async Task AssertLoadDecidesAsync(Frontend frontend, RoutedWorker one, RoutedWorker two)
    {
        two.ReportUsage(60.0 / RoutedWorker.Blocks);
        await frontend.WaitAsync("load does not move requests", Limit, async () => await GoesToAsync(frontend, one, Prompt("sigma")));
        one.ReportUsage(60.0 / RoutedWorker.Blocks);
        await frontend.WaitAsync(
            "load does not refuse requests",
            Limit,
            async () => (int)(await CompleteAsync(frontend, Prompt("sigma"))).Status == 529
        );
        two.ReportUsage(3.0 / RoutedWorker.Blocks);
        await frontend.WaitAsync("load does not bring requests back", Limit, async () => await GoesToAsync(frontend, two, Prompt("sigma")));
    }

    private static async Task AssertFirstTokensArriveAsync(Frontend frontend)
    {
        await frontend.WaitAsync(
            "first-token events are not applied",
            Limit,
            async () => await frontend.MetricAsync("dynamo_component_router_active_sequence_ingress_events_applied_total") > 0
        );
        foreach (var fault in (string[])["envelope_decode_errors", "payload_decode_errors", "identity_errors", "out_of_order"])
        {
            Assert.Equal(0, await frontend.MetricAsync($"dynamo_component_router_active_sequence_zmq_ingress_{fault}_total"));
        }
    }

    private static async Task Apply(Frontend frontend, int events, Func<Task> change)
    {
        var before = await frontend.MetricAsync(EventsApplied);
        await change();
        await frontend.WaitAsync(
            $"{events} events are not applied",
            Limit,
            async () => await frontend.MetricAsync(EventsApplied) >= before + events
        );
    }

    private static async Task AssertGoesToAsync(Frontend frontend, RoutedWorker wanted, RoutedWorker other, string prompt)
    {
        var (before, otherBefore) = (wanted.Requests, other.Requests);
        for (var i = 0; i < 6; i++)
        {
            var (status, body) = await CompleteAsync(frontend, prompt);
            Assert.Equal(HttpStatusCode.OK, status);
            Assert.True(body["nvext"]!["timing"]!["kv_hit_rate"]!.GetValue<double>() > 0.5, body.ToJsonString());
        }

        Assert.Equal((6, 0), (wanted.Requests - before, other.Requests - otherBefore));
    }

    private static async Task<bool> GoesToAsync(Frontend frontend, RoutedWorker wanted, string prompt)
    {
        var before = wanted.Requests;
        return (await CompleteAsync(frontend, prompt)).Status == HttpStatusCode.OK && wanted.Requests > before;
    }

    private static async Task<int[]> TokensOfAsync(Frontend frontend, RoutedWorker one, RoutedWorker two, string prompt)
    {
        var before = one.Requests;
        Assert.Equal(HttpStatusCode.OK, (await CompleteAsync(frontend, prompt)).Status);
        return one.Requests > before ? one.LastTokens : two.LastTokens;
    }

    /// <summary>Some blocks of text that share no prefix with other names.</summary>
    private static string Prompt(string name) => string.Join(' ', Enumerable.Range(0, 40).Select(i => $"{name} {i}"));

    private static Task<(HttpStatusCode Status, JsonNode Body)> CompleteAsync(Frontend frontend, string prompt) =>
        frontend.CompleteAsync(
            new JsonObject
            {
                ["model"] = "tiny",
                ["prompt"] = prompt,
                ["max_tokens"] = 1,
                ["nvext"] = new JsonObject { ["extra_fields"] = new JsonArray("worker_id", "timing") },
            }
        );

    private static double Value(string metrics, string label) =>
        metrics
            .Split('\n')
            .Where(line =>
                line.StartsWith("dynamo_vllm_kv_relay", StringComparison.Ordinal) && line.Contains(label, StringComparison.Ordinal)
            )
            .Sum(line => double.Parse(line[(line.LastIndexOf(' ') + 1)..], System.Globalization.CultureInfo.InvariantCulture));

    private static JsonObject Card()
    {
        var cards = Golden.Json("llm/cards.json");
        var text = cards["tiny|aggregated|recorder"]!["record"]!["card_json"]!
            .ToJsonString()
            .Replace("/models/tiny", Peers.TinyModel, StringComparison.Ordinal);
        var card = JsonNode.Parse(text)!.AsObject();
        card["kv_cache_block_size"] = RoutedWorker.BlockSize;
        card["runtime_config"]!["total_kv_blocks"] = RoutedWorker.Blocks;
        card["runtime_config"]!["kv_event_publishing_enabled"] = true;
        return card;
    }
}
