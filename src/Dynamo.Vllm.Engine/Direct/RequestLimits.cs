namespace Dynamo.Vllm.Engine.Direct;

/// <summary>What a request must keep to be filled into a template: beyond it the refusal is vLLM's own.</summary>
/// <param name="LongestPrompt">Tokens of a prompt, with room for one more.</param>
/// <param name="HighestToken">Last id that the model or its tokenizer has.</param>
/// <param name="LeastTokens">Least of what may be generated.</param>
internal sealed record RequestLimits(int LongestPrompt, int HighestToken, int LeastTokens);
