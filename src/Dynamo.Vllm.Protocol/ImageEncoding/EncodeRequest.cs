using System.Text.Json;
using System.Text.Json.Nodes;

namespace Dynamo.Vllm.Protocol.ImageEncoding;

/// <summary>What a worker that prefills sends to an encode worker: images by their URLs, in the order of the message.</summary>
/// <remarks>
/// The reference's <c>vLLMMultimodalRequest</c>, written as JSON into one string, which is the body of the request; its answer is the same
/// object in one string, with what was asked for filled in.
/// </remarks>
/// <param name="RequestId">Of the client's request, for logs.</param>
/// <param name="Urls">One for each image.</param>
/// <param name="CacheScope">Who may share what is fetched; null for nobody in particular.</param>
public sealed record EncodeRequest(string RequestId, IReadOnlyList<string> Urls, string? CacheScope)
{
    private const string Field = "multimodal_inputs";

    /// <summary>The body: one string.</summary>
    public byte[] ToBodyJson()
    {
        var groups = Urls.Select(url => new JsonObject { ["multimodal_input"] = new JsonObject { ["image_url"] = url } });
        var json = new JsonObject
        {
            // Of a generation, which this is none: the reference's readers want them all the same.
            ["engine_prompt"] = new JsonObject { ["prompt_token_ids"] = new JsonArray() },
            ["sampling_params"] = new JsonObject(),
            ["request_id"] = RequestId,
            [Field] = new JsonArray([.. groups]),
            ["image_cache_scope"] = CacheScope,
        };
        return Quote(json);
    }

    /// <exception cref="ProtocolException">It is none, or asks for something else than images by their URLs.</exception>
    public static EncodeRequest Parse(ReadOnlySpan<byte> body, PayloadCodec codec)
    {
        var json = ReadObject(JsonPayload.ParseBody(body, codec));
        if (json[Field] is not JsonArray groups)
        {
            throw new ProtocolException($"{Field} is missing, or no list");
        }

        if (groups.Count > Limits.MediaItemsMax)
        {
            throw new ProtocolException($"{Field} holds {groups.Count} images, above the limit {Limits.MediaItemsMax} of one request");
        }

        return new EncodeRequest(
            Text(json["request_id"], "request_id") ?? throw new ProtocolException("request_id is missing"),
            [.. groups.Select(ReadUrl)],
            Text(json["image_cache_scope"], "image_cache_scope")
        );
    }

    /// <summary>The answer: the request's own form, with a place for each image.</summary>
    public byte[] ToAnswerJson(IReadOnlyList<EncodedImage> images)
    {
        var json = new JsonObject
        {
            ["engine_prompt"] = new JsonObject { ["prompt_token_ids"] = new JsonArray() },
            ["sampling_params"] = new JsonObject(),
            ["request_id"] = RequestId,
            [Field] = new JsonArray([.. images.Select(image => image.ToJson())]),
            ["image_cache_scope"] = CacheScope,
        };
        return Quote(json);
    }

    /// <summary>The images of an answer.</summary>
    /// <exception cref="ProtocolException">It is none.</exception>
    public static IReadOnlyList<EncodedImage> ParseAnswer(JsonNode? data) =>
        ReadObject(data)[Field] is JsonArray groups
            ? [.. groups.Select(EncodedImage.Read)]
            : throw new ProtocolException($"{Field} of the encode worker's answer is missing, or no list");

    /// <summary>The reference's peers write it as a string; it is taken as it is, too.</summary>
    private static JsonObject ReadObject(JsonNode? body)
    {
        var value = body;
        if (body is JsonValue text && text.TryGetValue<string>(out var written))
        {
            try
            {
                value = JsonPayload.Parse(System.Text.Encoding.UTF8.GetBytes(written));
            }
            catch (JsonException exception)
            {
                throw new ProtocolException($"the text of the body is not JSON: {exception.Message}", exception);
            }
        }

        return value as JsonObject ?? throw new ProtocolException("the body is no object, and no text that holds one");
    }

    private static string ReadUrl(JsonNode? group, int index)
    {
        var field = $"{Field}[{index}].multimodal_input";
        if (group is not JsonObject { } all || all["multimodal_input"] is not JsonObject input)
        {
            throw new ProtocolException($"{field} is missing");
        }

        if (input["image_decoded"] is not null)
        {
            throw new ProtocolException(
                $"{field}.image_decoded was decoded by the frontend, and this worker takes no decoded media: it serves without "
                    + "--frontend-decoding"
            );
        }

        return Text(input["image_url"], $"{field}.image_url")
            ?? throw new ProtocolException($"{field}.image_url is missing: image_url or image_decoded is required for the encode worker.");
    }

    private static string? Text(JsonNode? value, string field) =>
        value is null ? null
        : value is JsonValue text && text.TryGetValue<string>(out var found) ? found
        : throw new ProtocolException($"{field} must be a text");

    private static byte[] Quote(JsonObject json)
    {
        using var buffer = new MemoryStream();
        using (var writer = new Utf8JsonWriter(buffer))
        {
            writer.WriteStringValue(json.ToJsonString());
        }

        return buffer.ToArray();
    }
}
