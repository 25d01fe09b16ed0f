using System.Buffers;
using System.Text.Json;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Protocol.Requests;

namespace Dynamo.Vllm.Engine.Requests;

/// <summary>A text request as the JSON that the guest makes prompt and SamplingParams of (prompts.py); token ids go beside it.</summary>
internal static class TextRequestEncoder
{
    public static void Write(IBufferWriter<byte> output, TextEngineRequest request)
    {
        var options = request.Options;
        using var json = new Utf8JsonWriter(output, new JsonWriterOptions { SkipValidation = true });
        json.WriteStartObject();
        json.WriteString("request_id"u8, request.RequestId);
        WriteSampling(json, options);
        WritePrompt(json, options.Prompt);
        CommonFields.WriteSalt(json, options.CacheSalt);
        CommonFields.WritePriority(json, options.Routing);
        CommonFields.WriteNumber(json, "data_parallel_rank"u8, request.DataParallelRank);
        CommonFields.WriteText(json, "session_id"u8, options.SessionId);
        CommonFields.WriteTraceHeaders(json, request.TraceHeaders);
        json.WriteEndObject();
    }

    /// <summary>No length of ours: where the client names none, it is the model's default or vLLM's, as in the reference.</summary>
    private static void WriteSampling(Utf8JsonWriter json, TextRequest options)
    {
        var stop = options.StopConditions;
        json.WriteStartObject("sampling"u8);
        CommonFields.WriteSampling(json, options.SamplingOptions);
        CommonFields.WriteNumber(json, "max_tokens"u8, stop.MaxTokens);
        CommonFields.WriteNumber(json, "min_tokens"u8, stop.MinTokens);
        CommonFields.WriteFlag(json, "ignore_eos"u8, stop.IgnoreEos);
        CommonFields.WriteNumber(json, "thinking_token_budget"u8, stop.MaxThinkingTokens);
        CommonFields.WriteTexts(json, "stop"u8, options.StopStrings);
        json.WriteEndObject();
    }

    private static void WritePrompt(Utf8JsonWriter json, TextPrompt prompt)
    {
        json.WriteStartObject("text"u8);
        CommonFields.WriteText(json, "prompt"u8, prompt.Text);
        if (prompt.MessagesJson is { } messages)
        {
            json.WritePropertyName("messages"u8);
            json.WriteRawValue(messages.Span, skipInputValidation: true);
            json.WriteNumber("length"u8, messages.Length);
            json.WriteStartArray("variables"u8);
            foreach (var variables in prompt.TemplateVariablesJson)
            {
                json.WriteRawValue(variables.Span, skipInputValidation: true);
            }

            json.WriteEndArray();
        }

        json.WriteEndObject();
    }
}
