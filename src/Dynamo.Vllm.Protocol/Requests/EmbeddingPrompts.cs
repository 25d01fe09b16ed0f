namespace Dynamo.Vllm.Protocol.Requests;

/// <summary>Either texts or lists of token ids, at least one.</summary>
public sealed class EmbeddingPrompts
{
    /// <summary>Null where there are token ids.</summary>
    public IReadOnlyList<string>? Texts { get; init; }

    /// <summary>The token ids of all prompts, one prompt behind the other.</summary>
    public ReadOnlyMemory<int> TokenIds { get; init; }

    /// <summary>How many token ids each prompt has; a prompt may have none.</summary>
    public IReadOnlyList<int> TokenCounts { get; init; } = [];

    public int Count => Texts?.Count ?? TokenCounts.Count;
}
