namespace Dynamo.Vllm.Protocol.Requests;

/// <summary>Prompts to be put into classes, or of which the model's vectors are wanted as they are (llm.md, 6.5).</summary>
public sealed class ClassificationRequest
{
    /// <summary>Name that the caller used; null or empty without one.</summary>
    public string? Model { get; set; }

    public required EmbeddingPrompts Prompts { get; init; }

    /// <summary>The vectors are wanted (<c>/v1/pooling</c>), not the classes (<c>/v1/classify</c>).</summary>
    public required bool IsPooling { get; init; }

    /// <summary>Named in the answer; null for the id of the request.</summary>
    public string? RequestId { get; set; }

    /// <summary>What the engine is to do, in its words; null for what the model is for.</summary>
    public string? Task { get; set; }

    /// <summary>Whether the numbers go through the model's last function; null for its own setting.</summary>
    public bool? UseActivation { get; set; }

    /// <summary>Prompts are cut to so many tokens, -1 being all that the model takes.</summary>
    public int? TruncatePromptTokens { get; set; }

    /// <summary>Where they are cut; null for the tokenizer's side.</summary>
    public string? TruncationSide { get; set; }

    /// <summary>For texts; null for what the tokenizer does by itself.</summary>
    public bool? AddSpecialTokens { get; set; }

    public string? CacheSalt { get; set; }

    /// <summary>The engine's: lower is served first.</summary>
    public int Priority { get; set; }

    /// <summary>Of vectors: <c>float</c>, <c>base64</c>, <c>bytes</c> or <c>bytes_only</c>.</summary>
    public string Encoding { get; set; } = "float";

    /// <summary>Of vectors that are not written as numbers.</summary>
    public string NumberType { get; set; } = "float32";

    /// <summary>Of vectors that are not written as numbers.</summary>
    public string Endianness { get; set; } = "native";

    public bool IsBinary => Encoding != "float";

    /// <summary>Bytes of a number of <see cref="NumberType"/>.</summary>
    public int NumberBytes =>
        NumberType switch
        {
            "float32" => 4,
            "float16" or "bfloat16" => 2,
            _ => 1,
        };
}
