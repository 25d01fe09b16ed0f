using Dynamo.Vllm.Core.Multimodal;

namespace Dynamo.Vllm.Core.Generate;

/// <summary>What the generate handlers need to know of the worker. Immutable.</summary>
public sealed record GenerateOptions
{
    /// <summary>Names under which the base model is asked for: served name, aliases, model string.</summary>
    public required IReadOnlySet<string> BaseModelNames { get; init; }

    public bool EnablePromptEmbeds { get; init; }

    /// <summary>LoRA is on by flag and by environment: unknown names are then errors.</summary>
    public bool LoraEnabled { get; init; }

    /// <summary>Fetches media; null unless multimodal processing is enabled.</summary>
    public MediaLoader? Media { get; init; }

    /// <summary>Token-in requests start from plain sampling defaults.</summary>
    public bool EnableReinforcementLearning { get; init; }
}
