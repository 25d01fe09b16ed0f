using Dynamo.Vllm.Protocol.MessagePack;
using Dynamo.Vllm.Protocol.Requests;

namespace Dynamo.Vllm.Protocol.Multimodal;

/// <summary>The fields of a token request that media come in. Golden file: tests/golden/llm/multimodal-requests.json.</summary>
internal static class MultimodalInputParser
{
    /// <summary>Names of the kinds on the wire, in the order of <see cref="MediaKind"/>.</summary>
    private static readonly string[] PartTypes = ["image_url", "video_url", "audio_url"];

    /// <summary>Reads a top-level field. False, with nothing read, if it is none of these.</summary>
    public static bool TryRead(ReadOnlySpan<byte> key, ref MessagePackReader reader, PreprocessedRequest request)
    {
        switch (key)
        {
            case var _ when key.SequenceEqual("multi_modal_data"u8):
                ReadData(ref reader, Of(request));
                return true;
            case var _ when key.SequenceEqual("multi_modal_uuids"u8):
                Of(request).Uuids = ReadLists(ref reader, "multi_modal_uuids");
                return true;
            case var _ when key.SequenceEqual("mm_processor_kwargs"u8):
                Of(request).ProcessorOptionsJson = RequestValues.JsonMap(ref reader, "mm_processor_kwargs");
                return true;
            case var _ when key.SequenceEqual("media_io_kwargs"u8):
                ReadMediaOptions(ref reader, Of(request));
                return true;
            case var _ when key.SequenceEqual("image_cache_scope"u8):
                Of(request).CacheScope = reader.PeekType() == MessagePackType.String ? reader.ReadString().Trim() : null;
                return true;
            default:
                return false;
        }
    }

    /// <summary>Reads a field of <c>extra_args</c>. False, with nothing read, if it is none of these.</summary>
    public static bool TryReadExtra(ReadOnlySpan<byte> key, ref MessagePackReader reader, PreprocessedRequest request)
    {
        switch (key)
        {
            case var _ when key.SequenceEqual("mm_hashes"u8):
                Of(request).ImageHashes = ReadTexts(ref reader, "extra_args.mm_hashes");
                return true;
            case var _ when key.SequenceEqual("mm_hashes_by_modality"u8):
                Of(request).HashesByModality = ReadLists(ref reader, "extra_args.mm_hashes_by_modality");
                return true;
            case var _ when key.SequenceEqual("mm_processor_kwargs"u8):
                var options = RequestValues.JsonMap(ref reader, "extra_args.mm_processor_kwargs");
                Of(request).ProcessorOptionsJson ??= options; // the place of older routers
                return true;
            case var _ when key.SequenceEqual("mm_kwargs_shm"u8) || key.SequenceEqual("mm_kwargs_nixl"u8):
                Of(request).HasProcessedMedia = true;
                reader.Skip();
                return true;
            default:
                return false;
        }
    }

    /// <summary>What a prefill worker says of the media.</summary>
    public static void ReadEmbeddingParams(ref MessagePackReader reader, PreprocessedRequest request, string field)
    {
        var json = RequestValues.JsonMap(ref reader, field);
        if (!json.Span.SequenceEqual("{}"u8))
        {
            Of(request).EmbeddingParamsJson = json;
        }
    }

    private static MultimodalInput Of(PreprocessedRequest request) => request.Multimodal ??= new MultimodalInput();

    private static void ReadData(ref MessagePackReader reader, MultimodalInput input)
    {
        const string field = "multi_modal_data";
        input.HasData = true;
        for (var left = RequestValues.MapHeader(ref reader, field); left > 0; left--)
        {
            var key = reader.ReadStringBytes();
            var kind = KindOf(key);
            if (kind is null || reader.TryReadNil())
            {
                if (kind is null)
                {
                    reader.Skip(); // a part type of later frontends, which the reference passes over, too
                }

                continue;
            }

            input[kind.Value] = ReadItems(ref reader, $"{field}.{PartTypes[(int)kind.Value]}", Limits.MediaItemsMax - input.Count);
        }
    }

    private static MediaKind? KindOf(ReadOnlySpan<byte> key) =>
        key switch
        {
            var _ when key.SequenceEqual("image_url"u8) => MediaKind.Image,
            var _ when key.SequenceEqual("video_url"u8) => MediaKind.Video,
            var _ when key.SequenceEqual("audio_url"u8) => MediaKind.Audio,
            _ => null,
        };

    private static MediaItem[] ReadItems(ref MessagePackReader reader, string field, int countMax)
    {
        var count = RequestValues.ArrayHeader(ref reader, field);
        if (count > countMax)
        {
            throw new ProtocolException($"{field} makes it more than {Limits.MediaItemsMax} media, the limit of one request");
        }

        var items = new MediaItem[count];
        for (var i = 0; i < count; i++)
        {
            items[i] = ReadItem(ref reader, $"{field}[{i}]");
        }

        return items;
    }

    /// <summary>A map with one of three keys. Where there are several, a URL comes before the others, as in the reference.</summary>
    private static MediaItem ReadItem(ref MessagePackReader reader, string field)
    {
        string? url = null;
        var (isDecoded, isUuidOnly) = (false, false);
        for (var left = RequestValues.MapHeader(ref reader, field); left > 0; left--)
        {
            var key = reader.ReadStringBytes();
            if (key.SequenceEqual("Url"u8))
            {
                url = RequestValues.Text(ref reader, field + ".Url");
            }
            else
            {
                isDecoded |= key.SequenceEqual("Decoded"u8);
                isUuidOnly |= key.SequenceEqual("UuidOnly"u8);
                reader.Skip();
            }
        }

        return url is not null ? new MediaItem(MediaForm.Url, url)
            : isDecoded ? new MediaItem(MediaForm.Decoded)
            : isUuidOnly ? new MediaItem(MediaForm.UuidOnly)
            : throw new ProtocolException($"{field} has none of the keys Url, Decoded and UuidOnly");
    }

    private static void ReadMediaOptions(ref MessagePackReader reader, MultimodalInput input)
    {
        for (var left = RequestValues.MapHeader(ref reader, "media_io_kwargs"); left > 0; left--)
        {
            var isVideo = reader.ReadStringBytes().SequenceEqual("video"u8);
            if (!isVideo)
            {
                reader.Skip();
            }
            else if (!reader.TryReadNil())
            {
                input.VideoOptionsJson = RequestValues.JsonMap(ref reader, "media_io_kwargs.video");
            }
        }
    }

    private static Dictionary<string, IReadOnlyList<string?>> ReadLists(ref MessagePackReader reader, string field)
    {
        var lists = new Dictionary<string, IReadOnlyList<string?>>();
        for (var left = RequestValues.MapHeader(ref reader, field); left > 0; left--)
        {
            var name = reader.ReadString();
            lists[name] = ReadTexts(ref reader, $"{field}.{name}");
        }

        return lists;
    }

    private static string?[] ReadTexts(ref MessagePackReader reader, string field)
    {
        var count = RequestValues.ArrayHeader(ref reader, field);
        if (count > Limits.MediaItemsMax)
        {
            throw new ProtocolException($"{field} holds {count} ids, above the limit {Limits.MediaItemsMax}");
        }

        var texts = new string?[count];
        for (var i = 0; i < count; i++)
        {
            texts[i] = reader.TryReadNil() ? null : RequestValues.Text(ref reader, $"{field}[{i}]");
            if (texts[i] is { } text && text.Length is 0 or > Limits.MediaIdCharactersMax)
            {
                throw new ProtocolException(
                    $"{field}[{i}] has {texts[i]!.Length} characters, must have 1 to {Limits.MediaIdCharactersMax}, or be null"
                );
            }
        }

        return texts;
    }
}
