using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Multimodal;
using Dynamo.Vllm.Protocol.ImageEncoding;

namespace Dynamo.Vllm.Engine.Requests;

/// <summary>Media on their way to the guest (media.py): what they are as JSON, their bytes behind the token ids, back to back.</summary>
internal static class MediaFields
{
    public static void Write(Utf8JsonWriter json, EngineMedia? media)
    {
        if (media is null)
        {
            return;
        }

        json.WriteStartObject("media"u8);
        json.WriteStartArray("items"u8);
        foreach (var item in media.Items)
        {
            json.WriteStartArray();
            json.WriteStringValue(MediaLoader.NameOf(item.Kind));
            if (item.Bytes is { } bytes)
            {
                json.WriteNumberValue(bytes.Length);
            }
            else
            {
                json.WriteNullValue();
            }

            json.WriteEndArray();
        }

        json.WriteEndArray();
        WriteEncoded(json, media.Encoded);
        WriteUuids(json, media);
        CommonFields.WriteRaw(json, "processor_options"u8, media.ProcessorOptionsJson);
        CommonFields.WriteRaw(json, "video_options"u8, media.VideoOptionsJson);
        CommonFields.WriteRaw(json, "embedding_params"u8, media.EmbeddingParamsJson);
        CommonFields.WriteFlag(json, "handed_over"u8, media.IsHandedOver);
        json.WriteEndObject();
    }

    /// <summary>The ids alone where there are no media, without a copy.</summary>
    public static ReadOnlySpan<byte> Append(ReadOnlySpan<byte> tokens, EngineMedia? media)
    {
        var bytes = media?.Items.Sum(item => item.Bytes?.Length ?? 0) ?? 0; // MediaLoader keeps the sum within an int
        if (bytes == 0)
        {
            return tokens;
        }

        var blob = new byte[tokens.Length + bytes];
        tokens.CopyTo(blob);
        var position = tokens.Length;
        foreach (var item in media!.Items)
        {
            if (item.Bytes is { } data)
            {
                data.Span.CopyTo(blob.AsSpan(position));
                position += data.Length;
            }
        }

        return blob;
    }

    private static void WriteEncoded(Utf8JsonWriter json, IReadOnlyList<EncodedImage>? images)
    {
        if (images is null)
        {
            return;
        }

        json.WriteStartArray("encoded"u8);
        foreach (var image in images)
        {
            json.WriteStartObject();
            WriteNode(json, "grid"u8, image.Grid);
            WriteNode(json, "transfer"u8, image.Transfer);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    private static void WriteNode(Utf8JsonWriter json, ReadOnlySpan<byte> name, JsonNode? value)
    {
        json.WritePropertyName(name);
        if (value is null)
        {
            json.WriteNullValue();
        }
        else
        {
            value.WriteTo(json);
        }
    }

    private static void WriteUuids(Utf8JsonWriter json, EngineMedia media)
    {
        if (media.Uuids is not { } uuids)
        {
            return;
        }

        json.WriteStartObject("uuids"u8);
        foreach (var (kind, ids) in uuids)
        {
            json.WriteStartArray(kind);
            foreach (var id in ids)
            {
                json.WriteStringValue(id); // null for one without
            }

            json.WriteEndArray();
        }

        json.WriteEndObject();
    }
}
