using Dynamo.Vllm.Protocol.ImageEncoding;

namespace Dynamo.Vllm.Core.Multimodal;

/// <summary>What a request shows the engine, fetched, and how the engine is to take it.</summary>
public sealed record EngineMedia
{
    /// <summary>By kind, and within a kind in the order of the message.</summary>
    public IReadOnlyList<EngineMedium> Items { get; init; } = [];

    /// <summary>All images, where an encode worker was shown them: none of them is in <see cref="Items"/> then.</summary>
    public IReadOnlyList<EncodedImage>? Encoded { get; init; }

    /// <summary>Ids for the engine's caches by its names of the kinds; null lets it make them from the media.</summary>
    public IReadOnlyDictionary<string, IReadOnlyList<string?>>? Uuids { get; init; }

    /// <summary>Options of the model's processor as JSON.</summary>
    public ReadOnlyMemory<byte>? ProcessorOptionsJson { get; init; }

    /// <summary>Options of the video decoder as JSON.</summary>
    public ReadOnlyMemory<byte>? VideoOptionsJson { get; init; }

    /// <summary>On a decode worker what stands for the media that a prefill worker has seen, as JSON.</summary>
    public ReadOnlyMemory<byte>? EmbeddingParamsJson { get; init; }

    /// <summary>On a prefill worker: the engine's answer is to hold what the decode worker needs to know of the media.</summary>
    public bool IsHandedOver { get; init; }
}
