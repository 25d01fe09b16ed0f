using System.Buffers;
using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.Protocol;

/// <summary>Bodies that are looked into as a whole: control calls and what clients of the tools read. Not for the token path.</summary>
public static class JsonPayload
{
    /// <exception cref="JsonException">It is no JSON.</exception>
    public static JsonNode? Parse(ReadOnlySpan<byte> json)
    {
        var element = ParseElement(json);
        // As in the reference they are no JSON. Met later, in the middle of a call, they would leave it half done.
        if (UnreadableText.Find(element) is { } path)
        {
            throw new JsonException($"{(path.Length == 0 ? "the body" : path)} holds text that is not valid Unicode");
        }

        if (HoldsInfinity(element))
        {
            throw new JsonException("number out of range");
        }

        return ToNode(element);
    }

    /// <exception cref="JsonException">It is no JSON, or none after the translation.</exception>
    /// <exception cref="ProtocolException">It is no MessagePack.</exception>
    public static JsonNode? Parse(ReadOnlySpan<byte> body, PayloadCodec codec)
    {
        if (codec == PayloadCodec.Json)
        {
            return Parse(body);
        }

        var json = new ArrayBufferWriter<byte>();
        MessagePackJson.Transcode(body, json);
        return Parse(json.WrittenSpan);
    }

    /// <summary>The body of a request to an endpoint; null for none.</summary>
    /// <exception cref="ProtocolException">It is neither JSON nor MessagePack.</exception>
    public static JsonNode? ParseBody(ReadOnlySpan<byte> body, PayloadCodec codec)
    {
        try
        {
            return body.IsEmpty ? null : Parse(body, codec);
        }
        catch (JsonException exception)
        {
            throw new ProtocolException($"body is not JSON: {exception.Message}", exception);
        }
    }

    private static JsonElement ParseElement(ReadOnlySpan<byte> json)
    {
        try
        {
            return JsonElement.Parse(json);
        }
        catch (InvalidOperationException exception)
        {
            // From the comparison of names.
            throw new JsonException("a key holds text that is not valid Unicode", exception);
        }
    }

    /// <summary>Of a name that stands there twice the last value counts, as in the reference.</summary>
    private static JsonNode? ToNode(JsonElement element)
    {
        switch (element.ValueKind)
        {
            case JsonValueKind.Object:
                var members = new JsonObject();
                foreach (var property in element.EnumerateObject())
                {
                    members[property.Name] = ToNode(property.Value);
                }

                return members;
            case JsonValueKind.Array:
                return new JsonArray([.. element.EnumerateArray().Select(ToNode)]);
            default:
                return JsonValue.Create(element);
        }
    }

    /// <summary>A number that no double holds. The depth is that of a parsed document, so bounded.</summary>
    private static bool HoldsInfinity(JsonElement element) =>
        element.ValueKind switch
        {
            JsonValueKind.Object => element.EnumerateObject().Any(property => HoldsInfinity(property.Value)),
            JsonValueKind.Array => element.EnumerateArray().Any(HoldsInfinity),
            JsonValueKind.Number => !double.IsFinite(element.GetDouble()),
            _ => false,
        };
}
