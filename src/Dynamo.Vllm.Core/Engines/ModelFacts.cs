namespace Dynamo.Vllm.Core.Engines;

/// <summary>The model in the words of its own files, as the engine understood them; what they do not say is empty.</summary>
public sealed record ModelFacts
{
    /// <summary>Folder or id.</summary>
    public string Tokenizer { get; init; } = "";

    /// <summary>In Hugging Face's word.</summary>
    public string Type { get; init; } = "";

    public IReadOnlyList<string> Architectures { get; init; } = [];

    public IReadOnlyList<int> EosTokenIds { get; init; } = [];

    public int? PadTokenId { get; init; }

    public int? BosTokenId { get; init; }

    /// <summary>What it computes with, in PyTorch's word.</summary>
    public string DataType { get; init; } = "";

    /// <summary>What the KV cache holds, in vLLM's word.</summary>
    public string CacheDataType { get; init; } = "";

    /// <summary>Its own defaults for sampling, as JSON; null for none.</summary>
    public string? SamplingDefaultsJson { get; init; }
}
