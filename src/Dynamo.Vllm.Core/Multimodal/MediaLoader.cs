using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Lifecycle;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.Multimodal;

namespace Dynamo.Vllm.Core.Multimodal;

/// <summary>The media of a request for its engine request: fetched all at once, or replaced by what a prefill worker said.</summary>
/// <remarks>
/// Nothing is decoded here: that is the guest's, beside its loop. What is found wrong without a fetch is refused before the first one.
/// </remarks>
public sealed class MediaLoader(IMediaSource source, EngineDescription engine)
{
    private static readonly MediaKind[] Kinds = [MediaKind.Image, MediaKind.Video, MediaKind.Audio];

    /// <summary>Null if the engine is shown nothing.</summary>
    /// <exception cref="RequestFailedException">A medium cannot be used.</exception>
    public async Task<EngineMedia?> LoadAsync(MultimodalInput? input, MediaRole role, CancellationToken cancellationToken)
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

        var items = await FetchAsync(shown, input.CacheScope, cancellationToken);
        var bytes = items.Sum(item => (long)(item.Bytes?.Length ?? 0));
        if (bytes > Limits.MediaBytesMax)
        {
            throw new RequestFailedException(
                DynamoError.InvalidArgument($"multi_modal_data takes {bytes} bytes, above the limit {Limits.MediaBytesMax} of one request")
            );
        }

        return new EngineMedia
        {
            Items = items,
            Uuids = ids,
            ProcessorOptionsJson = input.ProcessorOptionsJson,
            VideoOptionsJson = input.VideoOptionsJson,
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

    /// <summary>The first that fails ends the others.</summary>
    private async Task<EngineMedium[]> FetchAsync(
        List<(MediaKind Kind, int Index, MediaItem Item)> shown,
        string? scope,
        CancellationToken cancellationToken
    )
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var fetches = shown.Select(one => FetchAsync(one.Kind, one.Index, one.Item, scope, stop.Token)).ToList();
        try
        {
            return await Task.WhenAll(await FailFastAsync(fetches));
        }
        catch (Exception) // cleanup (style E3)
        {
            await Background.CancelAsync(stop);
            await Task.WhenAll(fetches.Select(EndAsync));
            throw;
        }
    }

    private static async Task EndAsync(Task fetch)
    {
        try
        {
            await fetch;
        }
        catch (Exception)
        {
            // Best-effort cleanup (style E3): the first failure is the one that is told.
        }
    }

    private static async Task<List<Task<EngineMedium>>> FailFastAsync(List<Task<EngineMedium>> fetches)
    {
        await foreach (var fetch in Task.WhenEach(fetches))
        {
            await fetch;
        }

        return fetches;
    }

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
