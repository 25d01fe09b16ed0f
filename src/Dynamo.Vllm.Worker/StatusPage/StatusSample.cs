namespace Dynamo.Vllm.Worker.StatusPage;

/// <summary>How the worker did between two looks at its metrics. What cannot be known is absent (style M2).</summary>
/// <param name="Time">Of the second look.</param>
/// <param name="OutputTokens">A second.</param>
/// <param name="PromptTokens">A second.</param>
/// <param name="Requests">Accepted, a second.</param>
/// <param name="Open">Accepted requests that have not ended.</param>
/// <param name="Waiting">Requests in the engine's queue.</param>
/// <param name="CacheUsage">Share of the KV cache, 0 to 1.</param>
/// <param name="FirstToken">95th percentile of the time to the first token, in seconds, of those that came between the looks.</param>
internal sealed record StatusSample(
    DateTimeOffset Time,
    double? OutputTokens,
    double? PromptTokens,
    double? Requests,
    double Open,
    double? Waiting,
    double? CacheUsage,
    double? FirstToken
);
