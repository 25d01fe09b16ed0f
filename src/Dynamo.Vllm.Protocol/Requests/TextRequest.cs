namespace Dynamo.Vllm.Protocol.Requests;

/// <summary>A client's own body, which the frontend passes on to a worker that takes text (llm.md, 6.1).</summary>
/// <remarks>Only what the reference acts on: it ignores, among others, guided decoding, logprobs and <c>logit_bias</c>.</remarks>
public sealed class TextRequest
{
    public required TextPrompt Prompt { get; init; }

    /// <summary>Named in every chunk; null for the id of the request.</summary>
    public string? Id { get; set; }

    /// <summary>Those that bear the same name in OpenAI's requests.</summary>
    public SamplingOptions SamplingOptions { get; } = new();

    public StopConditions StopConditions { get; } = new();

    /// <summary>Texts that end a choice and are not part of it.</summary>
    public IReadOnlyList<string> StopStrings { get; set; } = [];

    public RoutingHints Routing { get; } = new();

    public IReadOnlyList<string> Annotations { get; set; } = [];

    public bool HasEncoderResult { get; set; }

    public string? CacheSalt { get; set; }

    public string? SessionId { get; set; }
}
