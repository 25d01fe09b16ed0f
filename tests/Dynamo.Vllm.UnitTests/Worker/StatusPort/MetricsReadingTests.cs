using Dynamo.Vllm.Worker.StatusPage;
using Microsoft.Extensions.Time.Testing;

namespace Dynamo.Vllm.UnitTests.Worker.StatusPort;

/// <summary>What the charts are drawn from.</summary>
public sealed class MetricsReadingTests
{
    [Fact]
    public void Rates_and_percentiles_are_of_what_came_between_two_looks()
    {
        var time = new FakeTimeProvider();
        var first = MetricsReading.Parse(Page(tokens: 1000, fast: 4, all: 4, open: 1), time.GetTimestamp());
        time.Advance(TimeSpan.FromSeconds(4));
        var second = MetricsReading.Parse(Page(tokens: 1200, fast: 4, all: 14, open: 3), time.GetTimestamp());

        var sample = second.Since(first, DateTimeOffset.UnixEpoch, time);

        Assert.Equal(100, sample.OutputTokens); // two ranks
        Assert.Equal(3, sample.Open);
        Assert.Equal(0.25, sample.CacheUsage); // their mean
        Assert.Equal(0.1 + (0.95 * 0.4), sample.FirstToken!.Value, 6); // ten, all of them between 0.1 and 0.5 s
        Assert.Null(sample.PromptTokens);
        Assert.Null(second.Since(second, DateTimeOffset.UnixEpoch, time).FirstToken);
    }

    private static string Page(int tokens, int fast, int all, int open) =>
        $$"""
            # TYPE vllm:generation_tokens_total counter
            vllm:generation_tokens_total{engine="0"} {{tokens}}
            vllm:generation_tokens_total{engine="1"} {{tokens}}
            # TYPE vllm:kv_cache_usage_perc gauge
            vllm:kv_cache_usage_perc{engine="0"} 0.5
            vllm:kv_cache_usage_perc{engine="1"} 0
            # TYPE vllm:time_to_first_token_seconds histogram
            vllm:time_to_first_token_seconds_bucket{le="0.1"} {{fast}}
            vllm:time_to_first_token_seconds_bucket{le="0.5"} {{all}}
            vllm:time_to_first_token_seconds_bucket{le="+Inf"} {{all}}
            vllm:time_to_first_token_seconds_count {{all}}
            # TYPE dynamo_vllm_requests_open gauge
            dynamo_vllm_requests_open {{open}}

            """;
}
