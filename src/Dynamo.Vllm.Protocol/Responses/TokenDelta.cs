namespace Dynamo.Vllm.Protocol.Responses;

/// <summary>One item of the response stream: LLMEngineOutput with the fields that this worker sends (llm.md, 3).</summary>
/// <remarks>Reused by its owner between items: the encoder reads it and keeps nothing.</remarks>
public sealed class TokenDelta
{
    /// <summary>Choice index; null leaves the key out, as prefill workers do.</summary>
    public int? Index { get; set; }

    /// <summary>New tokens of this item, not cumulative. The only mandatory field.</summary>
    public ReadOnlyMemory<int> TokenIds { get; set; }

    /// <summary>One entry per token, or null.</summary>
    public IReadOnlyList<TokenLogprobs>? Logprobs { get; set; }

    public CompletionUsage? Usage { get; set; }

    /// <summary>Only on the last item of a choice: stop, length, cancelled, ... in the peer's words.</summary>
    public string? FinishReason { get; set; }

    /// <summary><see cref="FinishReason"/> says that the choice failed. Not on the wire.</summary>
    public bool IsError { get; set; }

    /// <summary>Hand-over of a prefill worker as JSON; the key is written even for JSON null when set.</summary>
    public ReadOnlyMemory<byte>? DisaggregatedParamsJson { get; set; }

    /// <summary>Free-form data for the client as a JSON object.</summary>
    public ReadOnlyMemory<byte>? EngineDataJson { get; set; }

    /// <summary>What stopped the choice: a token id or a string, as JSON.</summary>
    public ReadOnlyMemory<byte>? StopReasonJson { get; set; }

    /// <summary>Back to empty for the next item.</summary>
    public void Clear()
    {
        Index = null;
        TokenIds = default;
        Logprobs = null;
        Usage = null;
        FinishReason = null;
        IsError = false;
        DisaggregatedParamsJson = null;
        EngineDataJson = null;
        StopReasonJson = null;
    }
}
