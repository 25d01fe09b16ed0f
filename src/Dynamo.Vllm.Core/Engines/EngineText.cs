namespace Dynamo.Vllm.Core.Engines;

/// <summary>What a request wants of the engine's tokenizer: its outputs hold text beside tokens.</summary>
public sealed record EngineText
{
    /// <summary>Is tokenized and continued; null where the prompt is token ids.</summary>
    public string? Prompt { get; init; }

    /// <summary>How many tokens of <see cref="Prompt"/> are kept; null for all.</summary>
    public int? PromptTokensMax { get; init; }

    /// <summary>The first output names the tokens of <see cref="Prompt"/>.</summary>
    public bool NamesPromptTokens { get; init; }

    /// <summary>Texts that end a choice.</summary>
    public IReadOnlyList<string> StopStrings { get; init; } = [];

    /// <summary>Null for the engine's own default.</summary>
    public bool? SkipSpecialTokens { get; init; }
}
