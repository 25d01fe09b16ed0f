using Dynamo.Vllm.Protocol.Multimodal;

namespace Dynamo.Vllm.Protocol.Requests;

/// <summary>A tokenized request of the frontend, with the fields that a token worker reads (llm.md, 2).</summary>
public sealed class PreprocessedRequest
{
    /// <summary>Value of <c>logprobs</c> that stands for the full vocabulary.</summary>
    public const long FullVocabulary = 4294967295;

    public string? Model { get; set; }

    /// <summary>The prompt. Empty with <see cref="PromptEmbeds"/>.</summary>
    public int[] TokenIds { get; set; } = [];

    /// <summary>The key was present, in whichever form.</summary>
    public bool HasTokenIds { get; set; }

    /// <summary>Base64 of a saved tensor; takes precedence over <see cref="TokenIds"/>.</summary>
    public string? PromptEmbeds { get; set; }

    public StopConditions StopConditions { get; } = new();

    public SamplingOptions SamplingOptions { get; } = new();

    /// <summary>Number of alternatives per token, 0 for the selected one alone, -1 for the full vocabulary.</summary>
    public int? Logprobs { get; set; }

    public int? PromptLogprobs { get; set; }

    public RoutingHints Routing { get; } = new();

    public IReadOnlyList<string> Annotations { get; set; } = [];

    /// <summary>Media and what goes with them; null if no field of theirs came along.</summary>
    public MultimodalInput? Multimodal { get; set; }

    public bool HasEncoderResult { get; set; }

    /// <summary>Takes the place of sampling options and stop conditions; null unless the client used vLLM's own Generate API.</summary>
    public NativeGenerate? NativeGenerate { get; set; }

    /// <summary>A prefill worker ran first.</summary>
    public bool HasPrefillResult { get; set; }

    /// <summary><c>prefill_result.disaggregated_params.kv_transfer_params</c>
    /// as JSON, untouched; null if any level is missing or null.</summary>
    public ReadOnlyMemory<byte>? KvTransferParamsJson { get; set; }

    /// <summary><c>prefill_result.prompt_tokens_details</c> as JSON.</summary>
    public ReadOnlyMemory<byte>? PrefillPromptTokensDetailsJson { get; set; }

    /// <summary>First non-empty salt of the places where one may stand.</summary>
    public string? CacheSalt { get; set; }

    /// <summary>The client asked for <c>engine_data</c> (<c>nvext.extra_fields</c>).</summary>
    public bool WantsEngineData { get; set; }

    /// <summary>The client sent token ids itself (<c>nvext.token_data</c> or <c>nvext.token_in</c>).</summary>
    public bool IsTokenIn { get; set; }

    public string? SessionId { get; set; }

    public bool? ReasoningEnded { get; set; }

    public ReadOnlyMemory<byte>? ReasoningParserKwargsJson { get; set; }

    public ReadOnlyMemory<byte>? KvHintJson { get; set; }

    /// <summary>A canary probe of the runtime.</summary>
    public bool IsHealthCheck { get; set; }
}
