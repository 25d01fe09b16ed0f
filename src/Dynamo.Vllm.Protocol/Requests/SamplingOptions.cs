namespace Dynamo.Vllm.Protocol.Requests;

/// <summary>What the client asked of the sampler; null means the model's
/// default. Types are checked, ranges are the engine's to check.</summary>
/// <remarks>llm.md, 2.2, with the overlay of <c>extra_args.sampling_options</c> already applied.</remarks>
public sealed class SamplingOptions
{
    public int? N { get; set; }

    public double? PresencePenalty { get; set; }

    public double? FrequencyPenalty { get; set; }

    public double? RepetitionPenalty { get; set; }

    public double? Temperature { get; set; }

    public double? TopP { get; set; }

    public int? TopK { get; set; }

    public double? MinP { get; set; }

    public long? Seed { get; set; }

    public bool? IncludeStopStrInOutput { get; set; }

    public GuidedDecoding? GuidedDecoding { get; set; }

    /// <summary>Token id to bias.</summary>
    public IReadOnlyDictionary<int, double>? LogitBias { get; set; }

    public IReadOnlyList<int>? AllowedTokenIds { get; set; }

    public IReadOnlyList<int>? LogprobTokenIds { get; set; }

    /// <summary>Forbidden sequences; an empty inner list would kill the engine, so the parser refuses it.</summary>
    public IReadOnlyList<IReadOnlyList<int>>? BadWordsTokenIds { get; set; }

    public bool? SkipReadingPrefixCache { get; set; }

    public int? RoutedExpertsPromptStart { get; set; }
}
