namespace Dynamo.Vllm.Protocol.Requests;

/// <summary>When a choice ends (llm.md, 2.1). Stop strings are the frontend's business and are not read.</summary>
public sealed class StopConditions
{
    public int? MaxTokens { get; set; }

    public int? MinTokens { get; set; }

    public bool? IgnoreEos { get; set; }

    public int? MaxThinkingTokens { get; set; }

    /// <summary>The client's stop token ids.</summary>
    public IReadOnlyList<int>? StopTokenIds { get; set; }

    /// <summary>Stop token ids that the frontend added, such as the model's end-of-sequence ids.</summary>
    public IReadOnlyList<int>? StopTokenIdsHidden { get; set; }
}
