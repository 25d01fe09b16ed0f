using System.Text;
using System.Text.Json;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.MessagePack;
using Dynamo.Vllm.Protocol.Requests;

namespace Dynamo.Vllm.Worker.GrpcRequests;

/// <summary>Constraints that are JSON inside of a text.</summary>
internal static class GuidedJson
{
    private static readonly ReadOnlyMemory<byte> ObjectSchema = """{"type":"object"}"""u8.ToArray();

    /// <summary>For JSON inside of a message.</summary>
    public static readonly JsonDocumentOptions AsDeepAsBodies = new() { MaxDepth = Limits.NestingDepthMax };

    public static GuidedDecoding AnyObject => new() { JsonSchema = ObjectSchema };

    public static ReadOnlyMemory<byte> ReadSchema(string text) => Read(text, "json schema");

    /// <exception cref="Protocol.Errors.RequestFailedException">It is no JSON, or too much of it.</exception>
    public static ReadOnlyMemory<byte> Read(string text, string what)
    {
        if (text.Length > Limits.GuidedDecodingBytesMax)
        {
            throw Numbers.Refused($"invalid {what}: {text.Length} characters, above the limit {Limits.GuidedDecodingBytesMax}");
        }

        var bytes = Encoding.UTF8.GetBytes(text);
        try
        {
            using var document = JsonDocument.Parse(bytes, AsDeepAsBodies);
            return UnreadableText.Find(document.RootElement) is { } path
                ? throw Numbers.Refused($"invalid {what}: text that is not valid Unicode at '{path}'")
                : bytes;
        }
        catch (JsonException exception)
        {
            throw Numbers.Refused($"invalid {what}: {exception.Message}");
        }
    }
}
