using System.Net;
using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PeerTests;

/// <summary>LoRA adapters with prefill and decode apart, ours and official ones in every pair, over NIXL.</summary>
[Trait("Category", "Peers")]
public sealed class AdapterDisaggregationTests : IClassFixture<AdapterFleet>
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(1);

    private readonly AdapterFleet _fleet;

    public AdapterDisaggregationTests(AdapterFleet fleet) => _fleet = fleet;

    [PeerFact]
    public async Task Every_pair_answers_with_the_adapter_as_the_official_pair_does()
    {
        using var officialPrefill = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{_fleet.OfficialPrefillPort}") };
        using var officialDecode = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{_fleet.OfficialDecodePort}") };
        foreach (var http in (HttpClient[])[_fleet.Prefill.Http, _fleet.Decode.Http, officialPrefill, officialDecode])
        {
            Assert.Equal((HttpStatusCode.OK, "LoRA adapter 'ad' loaded successfully"), await LoadAsync(http, "ad", _fleet.Good));
        }

        // What the official prefill worker only remembers, ours tries at once: the first request for it ends the engine there.
        var (status, message) = await LoadAsync(_fleet.Prefill.Http, "broken", _fleet.Broken);
        Assert.Equal(HttpStatusCode.InternalServerError, status);
        Assert.Contains($"No adapter found for {_fleet.Broken}", message, StringComparison.Ordinal);

        (ulong Prefill, ulong Decode)[] pairs =
        [
            (_fleet.OfficialPrefill, _fleet.OfficialDecode),
            (_fleet.OurPrefill, _fleet.OurDecode),
            (_fleet.OurPrefill, _fleet.OfficialDecode),
            (_fleet.OfficialPrefill, _fleet.OurDecode),
        ];
        foreach (var (prefill, decode) in pairs)
        {
            await _fleet.ServesAsync(prefill, decode, "ad");
        }

        foreach (var prompt in DisaggregatedFleet.Prompts.Take(8))
        {
            var answers = new List<string>();
            foreach (var (prefill, decode) in pairs)
            {
                answers.Add(await _fleet.AnswerAsync(prompt, decode, prefill, "ad"));
            }

            Assert.All(answers, answer => Assert.Equal(answers[0], answer));
            Assert.NotEqual(answers[0], await _fleet.AnswerAsync(prompt, _fleet.OurDecode, _fleet.OurPrefill));
        }

        foreach (var http in (HttpClient[])[_fleet.Prefill.Http, _fleet.Decode.Http])
        {
            using var response = await http.DeleteAsync("/v1/loras/ad");
            Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        }
    }

    [PeerFact]
    public async Task Probes_are_the_official_worker_s_own_or_what_the_variable_says_and_hand_nothing_over()
    {
        using var officialPrefill = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{_fleet.OfficialPrefillPort}") };
        using var officialDecode = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{_fleet.OfficialDecodePort}") };
        foreach (
            var (http, prompt) in ((HttpClient, int)[])
                [(officialPrefill, 1), (_fleet.Prefill.Http, 1), (officialDecode, 3), (_fleet.Decode.Http, 3)]
        )
        {
            var probes = await ProbeCounts.OfTwoAsync(http, Limit);
            Assert.Equal((prompt * probes.Requests, probes.Requests), (probes.Prompt, probes.Generated));
            using var health = await http.GetAsync("/health");
            Assert.Equal(HttpStatusCode.OK, health.StatusCode);
            // No blocks wait for anybody.
            Assert.Equal(0, MetricSamples.Sum(await http.GetStringAsync("/metrics"), "vllm:kv_cache_usage_perc"));
        }
    }

    private static async Task<(HttpStatusCode Status, string Message)> LoadAsync(HttpClient http, string name, string folder)
    {
        var body = new JsonObject
        {
            ["lora_name"] = name,
            ["source"] = new JsonObject { ["uri"] = $"file://{folder}" },
        };
        using var response = await http.PostAsync("/v1/loras", new StringContent(body.ToJsonString(), Encoding.UTF8, "application/json"));
        return (response.StatusCode, (string)JsonNode.Parse(await response.Content.ReadAsStringAsync())!["message"]!);
    }
}
