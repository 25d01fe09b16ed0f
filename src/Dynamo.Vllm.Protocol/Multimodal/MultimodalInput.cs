namespace Dynamo.Vllm.Protocol.Multimodal;

/// <summary>Media of a request and what goes with them (llm.md, 2; behaviour.md, 12).</summary>
public sealed class MultimodalInput
{
    private readonly IReadOnlyList<MediaItem>[] _items =
    [
        [],
        [],
        [],
    ];

    /// <summary><c>multi_modal_data</c> was given, be it empty.</summary>
    public bool HasData { get; set; }

    /// <summary><c>multi_modal_uuids</c>: a list for each part type. Null if it is not given.</summary>
    public IReadOnlyDictionary<string, IReadOnlyList<string?>>? Uuids { get; set; }

    /// <summary><c>extra_args.mm_hashes_by_modality</c>: what the frontend routed by.</summary>
    public IReadOnlyDictionary<string, IReadOnlyList<string?>>? HashesByModality { get; set; }

    /// <summary><c>extra_args.mm_hashes</c>, of images alone.</summary>
    public IReadOnlyList<string?>? ImageHashes { get; set; }

    /// <summary><c>mm_processor_kwargs</c> as JSON.</summary>
    public ReadOnlyMemory<byte>? ProcessorOptionsJson { get; set; }

    /// <summary><c>media_io_kwargs.video</c> as JSON.</summary>
    public ReadOnlyMemory<byte>? VideoOptionsJson { get; set; }

    /// <summary><c>image_cache_scope</c>: who may share a fetched image, where that is told apart.</summary>
    public string? CacheScope { get; set; }

    /// <summary>
    /// What the frontend's processor made of the media lies in shared memory or at a NIXL peer (<c>extra_args.mm_kwargs_*</c>).
    /// </summary>
    public bool HasProcessedMedia { get; set; }

    /// <summary><c>prefill_result.disaggregated_params.embedding_params</c> as JSON: what a prefill worker says of the media.</summary>
    public ReadOnlyMemory<byte>? EmbeddingParamsJson { get; set; }

    /// <summary>Nothing that a worker without <c>--enable-multimodal</c> would have to refuse.</summary>
    public bool IsHarmless => !HasData && Uuids is null && !HasProcessedMedia;

    public int Count => _items.Sum(list => list.Count);

    /// <summary>The media of a kind, in the order of the message.</summary>
    public IReadOnlyList<MediaItem> this[MediaKind kind]
    {
        get => _items[(int)kind];
        set => _items[(int)kind] = value;
    }
}
