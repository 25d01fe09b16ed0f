using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.ImageEncoding;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.ImageEncoding;
using Dynamo.Vllm.Protocol.Multimodal;

namespace Dynamo.Vllm.Core.Multimodal;

/// <summary>The media of a request for its engine request: fetched all at once, or replaced by what a prefill worker said.</summary>
/// <remarks>
/// Nothing is decoded here: that is the guest's, beside its loop. What is found wrong without a fetch is refused before the first one.
/// </remarks>
public sealed class MediaLoader(IMediaSource source, EngineDescription engine, IEncodeWorkers? encoders = null)
{
    private static readonly MediaKind[] Kinds = [MediaKind.Image, MediaKind.Video, MediaKind.Audio];

    /// <summary>Null if the engine is shown nothing.</summary>
    /// <exception cref="RequestFailedException">A medium cannot be used.</exception>
    public async Task<EngineMedia?> LoadAsync(MultimodalInput? input, MediaRole role, string requestId, CancellationToken cancellationToken)
    {
        if (input is null || (input.IsHarmless && input.EmbeddingParamsJson is null))
        {
            return null;
        }

        var ids = MediaIds.Choose(input);
        var shown = Choose(input, role);
        foreach (var kind in Kinds)
        {
            Check(kind, input[kind], shown);
        }

        var hasStandIn = role == MediaRole.Decode && input.EmbeddingParamsJson is not null && (IsQwen || shown.Count == 0);
        if (shown.Count == 0 && !hasStandIn)
        {
            return null;
        }

        var isEncoded = IsEncodedElsewhere(shown);
        // What is offered stands for a while only, so the rest is fetched first.
        var items = await FetchAsync(
            isEncoded ? [.. shown.Where(one => one.Kind != MediaKind.Image)] : shown,
            input.CacheScope,
            cancellationToken
        );
        CheckSize(items.Sum(item => (long)(item.Bytes?.Length ?? 0)));
        var encoded = isEncoded ? await EncodeAsync(shown, input.CacheScope, requestId, cancellationToken) : null;
        return new EngineMedia
        {
            Items = items,
            Uuids = ids,
            ProcessorOptionsJson = input.ProcessorOptionsJson,
            VideoOptionsJson = input.VideoOptionsJson,
            Encoded = encoded,
            EmbeddingParamsJson = hasStandIn ? input.EmbeddingParamsJson : null,
            IsHandedOver = role == MediaRole.Prefill,
        };
    }

    /// <summary>What keeps a decode worker from using what the prefill worker said; null if nothing does.</summary>
    public string? FindMissingHandOver(MultimodalInput? input, bool hasPrefillResult)
    {
        if (!IsQwen || input is null || input.EmbeddingParamsJson is not null || input[MediaKind.Image].Count == 0)
        {
            return null;
        }

        return hasPrefillResult
            ? "error: Prefill did not produce required multimodal embedding metadata (image_grid_thw) for Qwen-VL decode"
            : "error: Decode worker received multimodal request without prefill result";
    }

    /// <summary>Its images are known to a decode worker by their grids; of other families it is shown all media once more.</summary>
    private bool IsQwen => engine.Multimodal.Family == MultimodalFacts.QwenFamily;

    private List<(MediaKind Kind, int Index, MediaItem Item)> Choose(MultimodalInput input, MediaRole role)
    {
        var kinds = role == MediaRole.Decode && IsQwen ? Kinds.Where(kind => kind != MediaKind.Image) : Kinds;
        return [.. kinds.SelectMany(kind => input[kind].Select((item, index) => (kind, index, item)))];
    }

    private void Check(MediaKind kind, IReadOnlyList<MediaItem> items, List<(MediaKind Kind, int Index, MediaItem Item)> shown)
    {
        if (engine.Multimodal.Limits.TryGetValue(NameOf(kind), out var limit) && items.Count > limit)
        {
            // In vLLM's words, which come too late there: after every fetch.
            throw new RequestFailedException(
                DynamoError.InvalidArgument(
                    $"{FieldOf(kind)} holds {items.Count}: At most {limit} {NameOf(kind)}(s) may be provided in one prompt."
                )
            );
        }

        foreach (var (_, index, item) in shown.Where(one => one.Kind == kind))
        {
            var problem = item.Form switch
            {
                MediaForm.Decoded => "was decoded by the frontend, and this worker takes no decoded media: it serves without "
                    + "--frontend-decoding",
                MediaForm.UuidOnly when kind != MediaKind.Image => "has no URL: only an image may be named by its id alone",
                _ => null,
            };
            if (problem is not null)
            {
                throw new RequestFailedException(DynamoError.InvalidArgument($"{FieldOf(kind)}[{index}] {problem}"));
            }
        }
    }

    /// <exception cref="RequestFailedException">More bytes than one request may hold.</exception>
    internal static void CheckSize(long bytes)
    {
        if (bytes > Limits.MediaBytesMax)
        {
            throw new RequestFailedException(
                DynamoError.InvalidArgument($"multi_modal_data takes {bytes} bytes, above the limit {Limits.MediaBytesMax} of one request")
            );
        }
    }

    /// <summary>All images by an encode worker, or none: one that the engine is to find in its cache has no URL.</summary>
    private bool IsEncodedElsewhere(List<(MediaKind Kind, int Index, MediaItem Item)> shown)
    {
        var images = shown.Where(one => one.Kind == MediaKind.Image).ToList();
        return encoders is not null && images.Count > 0 && images.TrueForAll(image => image.Item.Url is not null);
    }

    private Task<IReadOnlyList<EncodedImage>> EncodeAsync(
        List<(MediaKind Kind, int Index, MediaItem Item)> shown,
        string? scope,
        string requestId,
        CancellationToken cancellationToken
    )
    {
        var urls = shown.Where(one => one.Kind == MediaKind.Image).Select(image => image.Item.Url!);
        return encoders!.EncodeAsync(new EncodeRequest(requestId, [.. urls], scope), cancellationToken);
    }

    private Task<EngineMedium[]> FetchAsync(
        List<(MediaKind Kind, int Index, MediaItem Item)> shown,
        string? scope,
        CancellationToken cancellationToken
    ) =>
        FailFast.AllAsync(
            shown.Select(one =>
                (Func<CancellationToken, Task<EngineMedium>>)(stop => FetchAsync(one.Kind, one.Index, one.Item, scope, stop))
            ),
            cancellationToken
        );

    private async Task<EngineMedium> FetchAsync(
        MediaKind kind,
        int index,
        MediaItem item,
        string? scope,
        CancellationToken cancellationToken
    ) =>
        new(kind, item.Url is null ? null : await source.FetchAsync(kind, item.Url, $"{FieldOf(kind)}[{index}]", scope, cancellationToken));

    /// <summary>The engine's name of a kind.</summary>
    public static string NameOf(MediaKind kind) =>
        kind switch
        {
            MediaKind.Image => "image",
            MediaKind.Video => "video",
            _ => "audio",
        };

    private static string FieldOf(MediaKind kind) => $"multi_modal_data.{NameOf(kind)}_url";
}
