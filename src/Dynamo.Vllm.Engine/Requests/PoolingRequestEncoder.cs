using System.Buffers;
using System.Text.Json;
using Dynamo.Vllm.Protocol.Requests;

namespace Dynamo.Vllm.Engine.Requests;

/// <summary>A request for vectors or classes as the JSON that the guest reads (encode.py); token ids go beside it.</summary>
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

    public static void Write(IBufferWriter<byte> output, string requestId, ClassificationRequest request)
    {
        using var json = new Utf8JsonWriter(output, new JsonWriterOptions { SkipValidation = true });
        json.WriteStartObject();
        json.WriteString("request_id"u8, requestId);
        WritePrompts(json, request.Prompts);
        CommonFields.WriteText(json, "cache_salt"u8, request.CacheSalt);
        if (request.Priority != 0)
        {
            json.WriteNumber("priority"u8, request.Priority);
        }

        json.WriteStartObject("tokenization"u8);
        CommonFields.WriteNumber(json, "truncate_prompt_tokens"u8, request.TruncatePromptTokens);
        CommonFields.WriteText(json, "truncation_side"u8, request.TruncationSide);
        CommonFields.WriteFlag(json, "add_special_tokens"u8, request.AddSpecialTokens);
        json.WriteEndObject();
        json.WriteStartObject("pooling"u8);
        CommonFields.WriteText(json, "task"u8, request.IsPooling ? request.Task : "classify");
        CommonFields.WriteFlag(json, "use_activation"u8, request.UseActivation);
        if (!request.IsPooling)
        {
            json.WriteBoolean("one_row"u8, true);
        }
        else if (request.IsBinary)
        {
            json.WriteString("dtype"u8, request.NumberType);
            json.WriteString("endianness"u8, request.Endianness);
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
