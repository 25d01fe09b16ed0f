namespace Dynamo.Vllm.Worker.Tools;

/// <summary>What <c>call</c> was asked for.</summary>
internal sealed record CallToolOptions(string? Address, string Endpoint, string Tokens, int MaxTokens, string? Body);
