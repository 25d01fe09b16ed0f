using System.Buffers;
using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.Protocol;

/// <summary>Bodies that are looked into as a whole: control calls and what clients of the tools read. Not for the token path.</summary>
public static class JsonPayload
{
    /// <summary>Without duplicate names, which the node would otherwise complain of only when somebody looks inside.</summary>
    private static readonly JsonDocumentOptions Options = new() { AllowDuplicateProperties = false };

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

        return element.ValueKind switch
        {
            JsonValueKind.Object => JsonObject.Create(element),
            JsonValueKind.Array => JsonArray.Create(element),
            _ => JsonValue.Create(element),
        };
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

    private static JsonElement ParseElement(ReadOnlySpan<byte> json)
    {
        try
        {
            return JsonElement.Parse(json, Options);
        }
        catch (InvalidOperationException exception)
        {
            // From the comparison of names.
            throw new JsonException("a key holds text that is not valid Unicode", exception);
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
