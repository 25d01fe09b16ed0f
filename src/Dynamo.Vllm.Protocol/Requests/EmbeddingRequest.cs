namespace Dynamo.Vllm.Protocol.Requests;

/// <summary>Prompts of which each is to become a vector (llm.md, 6.4).</summary>
public sealed class EmbeddingRequest
{
    /// <summary>Name that the caller used; null or empty without one.</summary>
    public string? Model { get; set; }

    public required EmbeddingPrompts Prompts { get; init; }

    /// <summary>The frontend made the token ids: it gets the answer in its own form, not in OpenAI's.</summary>
    public required bool IsPreprocessed { get; init; }

    /// <summary>Length of the vectors; null for the model's own.</summary>
    public int? Dimensions { get; set; }

    /// <summary>Texts are cut to so many tokens, -1 being all that the model takes. Token ids are never cut.</summary>
    public int? TruncatePromptTokens { get; set; }

    /// <summary>For texts; null for what the tokenizer does by itself.</summary>
    public bool? AddSpecialTokens { get; set; }
}
