using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PeerTests;

/// <summary>Where the official router sent a prompt, as its answer says.</summary>
/// <param name="Worker">Instance id.</param>
/// <param name="Rank">Data-parallel rank.</param>
/// <param name="HitRate">Share of the prompt that the router took for cached there; 0 where it does not say.</param>
internal readonly record struct RoutedAnswer(ulong Worker, int Rank, double HitRate)
{
    public static async Task<RoutedAnswer> AskAsync(Frontend frontend, string prompt, int tokens = 1, ulong? instance = null)
    {
        var body = new JsonObject
        {
            ["model"] = "tiny",
            ["prompt"] = prompt,
            ["max_tokens"] = tokens,
            ["temperature"] = 0,
            ["nvext"] = new JsonObject { ["extra_fields"] = new JsonArray("worker_id", "timing") },
        };
        using var response = await frontend.PostAsync("/v1/completions", body, instance);
        var text = await response.Content.ReadAsStringAsync();
        Assert.True(response.IsSuccessStatusCode, text);
        var details = JsonNode.Parse(text)!["nvext"]!;
        var worker = details["worker_id"]!;
        return new(
            worker["decode_worker_id"]!.GetValue<ulong>(),
            worker["decode_dp_rank"]!.GetValue<int>(),
            details["timing"]?["kv_hit_rate"]?.GetValue<double>() ?? 0
        );
    }
}
