using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PeerTests;

/// <summary>What an engine that nobody else asks was asked by its own worker's probes.</summary>
/// <param name="Requests">Probes that came to a good end.</param>
/// <param name="Prompt">Tokens of their prompts.</param>
/// <param name="Generated">Tokens of their answers.</param>
internal sealed record ProbeCounts(double Requests, double Prompt, double Generated)
{
    /// <summary>Of the next two probes at least.</summary>
    public static async Task<ProbeCounts> OfTwoAsync(HttpClient http, TimeSpan limit)
    {
        var before = await ReadAsync(http);
        var now = before;
        await Polling.UntilAsync(
            "there are no probes",
            limit,
            async () => (now = await ReadAsync(http)).Requests >= before.Requests + 2,
            () => $"{before} {now}"
        );
        return new(now.Requests - before.Requests, now.Prompt - before.Prompt, now.Generated - before.Generated);
    }

    private static async Task<ProbeCounts> ReadAsync(HttpClient http)
    {
        var scrape = await http.GetStringAsync("/metrics");
        return new(
            MetricSamples.Sum(scrape, "vllm:request_success_total"),
            MetricSamples.Sum(scrape, "vllm:prompt_tokens_total"),
            MetricSamples.Sum(scrape, "vllm:generation_tokens_total")
        );
    }
}
