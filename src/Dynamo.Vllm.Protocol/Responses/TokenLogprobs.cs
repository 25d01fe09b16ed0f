namespace Dynamo.Vllm.Protocol.Responses;

/// <summary>Logprobs of one generated token: the selected one first, then the top k (llm.md, 3.2).</summary>
public readonly record struct TokenLogprobs(double Selected, IReadOnlyList<TopLogprob> Top);
