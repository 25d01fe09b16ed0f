namespace Dynamo.Vllm.Core.Engines;

/// <summary>What the engine's model can be shown.</summary>
public sealed record MultimodalFacts
{
    /// <summary>Models whose positions depend on the grid of an image.</summary>
    public const string QwenFamily = "qwen-vl";

    /// <summary>Whose hand-over from prefill to decode it takes; null for one that has none of its own.</summary>
    public string? Family { get; init; }

    /// <summary>How many of each kind a prompt may hold, by the engine's names; a kind that is missing is not limited here.</summary>
    public IReadOnlyDictionary<string, int> Limits { get; init; } = new Dictionary<string, int>();

    /// <summary>Placeholder of images in a prompt, if routers know the model.</summary>
    public uint? ImageToken { get; init; }

    /// <summary>Placeholder of videos, likewise.</summary>
    public uint? VideoToken { get; init; }
}
