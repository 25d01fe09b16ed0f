using System.Text;
using System.Text.Json;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.MessagePack;
using Dynamo.Vllm.Protocol.Requests;
using Dynamo.Vllm.Worker.NativeGrpc.Contract;

namespace Dynamo.Vllm.Worker.NativeGrpc;

/// <summary>The one constraint that a request may put on its output.</summary>
internal static class GuidedForms
{
    private static readonly ReadOnlyMemory<byte> AnyObject = """{"type":"object"}"""u8.ToArray();

    private static readonly JsonDocumentOptions AsDeepAsBodies = new() { MaxDepth = Limits.NestingDepthMax };

    public static GuidedDecoding? Read(DecodingParameters decoding) =>
        decoding.StructuredOutputCase switch
        {
            DecodingParameters.StructuredOutputOneofCase.Json => new GuidedDecoding { JsonSchema = ReadSchema(decoding.Json) },
            DecodingParameters.StructuredOutputOneofCase.Regex => new GuidedDecoding { Regex = decoding.Regex },
            DecodingParameters.StructuredOutputOneofCase.Choice => new GuidedDecoding { Choice = [.. decoding.Choice.Choices] },
            DecodingParameters.StructuredOutputOneofCase.Grammar => new GuidedDecoding { Grammar = decoding.Grammar },
            DecodingParameters.StructuredOutputOneofCase.JsonObject when decoding.JsonObject => new GuidedDecoding
            {
                JsonSchema = AnyObject,
            },
            DecodingParameters.StructuredOutputOneofCase.StructuralTag => new GuidedDecoding
            {
                StructuralTag = ReadJson(decoding.StructuralTag, "structural_tag"),
            },
            _ => null,
        };

    private static ReadOnlyMemory<byte> ReadSchema(string text) => ReadJson(text, "json schema");

    private static ReadOnlyMemory<byte> ReadJson(string text, string what)
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
