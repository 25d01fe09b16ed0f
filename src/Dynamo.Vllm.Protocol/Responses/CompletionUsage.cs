namespace Dynamo.Vllm.Protocol.Responses;

/// <summary>Token counts so far (llm.md, 3.3).</summary>
/// <param name="PromptTokens">Prompt length in tokens; null if the engine reports none, which makes the total null too.</param>
/// <param name="CompletionTokens">Generated so far, over all choices.</param>
/// <param name="CachedTokens">Prompt tokens taken from the prefix cache; null writes no details.</param>
/// <param name="DetailsJson">Replaces the details on a decode worker: those that the prefill worker reported, as JSON.</param>
public readonly record struct CompletionUsage(
    int? PromptTokens,
    int CompletionTokens,
    int? CachedTokens,
    ReadOnlyMemory<byte>? DetailsJson = null
);
