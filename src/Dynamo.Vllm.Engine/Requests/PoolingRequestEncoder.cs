using System.Buffers;
using System.Text.Json;
using Dynamo.Vllm.Protocol.Requests;

namespace Dynamo.Vllm.Engine.Requests;

/// <summary>An embedding request as the JSON that the guest reads (encode.py); token ids go beside it.</summary>
internal static class PoolingRequestEncoder
{
    public static void Write(IBufferWriter<byte> output, string requestId, EmbeddingRequest request)
    {
        using var json = new Utf8JsonWriter(output, new JsonWriterOptions { SkipValidation = true });
        json.WriteStartObject();
        json.WriteString("request_id"u8, requestId);
        if (request.Dimensions is { } dimensions)
        {
            json.WriteNumber("dimensions"u8, dimensions);
        }

        WritePrompts(json, request.Prompts);
        json.WriteStartObject("tokenization"u8);
        if (request.TruncatePromptTokens is { } length)
        {
            json.WriteNumber("truncate_prompt_tokens"u8, length);
        }

        if (request.AddSpecialTokens is { } adds)
        {
            json.WriteBoolean("add_special_tokens"u8, adds);
        }

        json.WriteEndObject();
        json.WriteEndObject();
    }

    private static void WritePrompts(Utf8JsonWriter json, EmbeddingPrompts prompts)
    {
        if (prompts.Texts is { } texts)
        {
            json.WriteStartArray("texts"u8);
            foreach (var text in texts)
            {
                json.WriteStringValue(text);
            }
        }
        else
        {
            json.WriteStartArray("lengths"u8);
            foreach (var count in prompts.TokenCounts)
            {
                json.WriteNumberValue(count);
            }
        }

        json.WriteEndArray();
    }
}
