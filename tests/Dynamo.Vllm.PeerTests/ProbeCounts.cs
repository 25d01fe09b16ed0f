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
        // What others asked for before may be counted with the next step alone.
        var before = await AfterAsync(http, (await ReadAsync(http)).Requests + 1, limit);
        var now = await AfterAsync(http, before.Requests + 2, limit);
        return new(now.Requests - before.Requests, now.Prompt - before.Prompt, now.Generated - before.Generated);
    }

    private static async Task<ProbeCounts> AfterAsync(HttpClient http, double requests, TimeSpan limit)
    {
        var now = await ReadAsync(http);
        await Polling.UntilAsync(
            $"there are no {requests} requests",
            limit,
            async () => (now = await ReadAsync(http)).Requests >= requests,
            () => now.ToString()
        );
        return now;
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
