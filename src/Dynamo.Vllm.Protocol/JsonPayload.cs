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
    public static JsonNode? Parse(ReadOnlySpan<byte> json) => JsonNode.Parse(json, documentOptions: Options);

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
}
