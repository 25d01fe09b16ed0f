using System.Globalization;
using System.Text.Json;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Protocol.Requests;

namespace Dynamo.Vllm.Engine.Requests;

/// <summary>An engine request as the JSON that the guest builds SamplingParams and prompt from (behaviour.md, 12).</summary>
internal static class RequestEncoder
{
    /// <summary>The fields in which requests are alike: whoever finds two requests with the same text here may treat them alike.</summary>
    /// <remarks>To be followed by <see cref="WriteOwn"/>.</remarks>
    public static void WriteShared(Utf8JsonWriter json, EngineRequest request)
    {
        var options = request.Options;
        json.WriteStartObject();
        if (options.NativeGenerate is { } native)
        {
            WriteNative(json, native, request.KvTransferParamsJson);
        }
        else
        {
            WriteSampling(json, request);
        }

        if (!string.IsNullOrEmpty(options.PromptEmbeds))
        {
            json.WriteString("prompt_embeds"u8, options.PromptEmbeds);
        }

        if (request.UsesPlainDefaults)
        {
            json.WriteBoolean("plain_defaults"u8, true);
        }

        WriteOptional(json, request);
        json.Flush();
    }

    /// <summary>What every request has of its own, and the end of the object. The tokens of the prompt go beside it.</summary>
    /// <param name="json">After <see cref="WriteShared"/>.</param>
    /// <param name="request">The same.</param>
    /// <param name="question">Under which the guest should teach how such a request is encoded; null for nothing.</param>
    public static void WriteOwn(Utf8JsonWriter json, EngineRequest request, int? question)
    {
        var options = request.Options;
        json.WriteString("request_id"u8, request.RequestId);
        if (options.NativeGenerate is null)
        {
            json.WriteNumber("max_tokens"u8, request.MaxTokens);
            CommonFields.WritePriority(json, options.Routing);
            WriteTransfer(json, request.KvTransferParamsJson);
        }

        CommonFields.WriteSalt(json, options.CacheSalt);
        CommonFields.WriteText(json, "session_id"u8, options.SessionId);
        CommonFields.WriteTraceHeaders(json, request.TraceHeaders);
        CommonFields.WriteNumber(json, "teach"u8, question);
        json.WriteEndObject();
        json.Flush();
    }

    private static void WriteOptional(Utf8JsonWriter json, EngineRequest request)
    {
        var options = request.Options;
        CommonFields.WriteNumber(json, "data_parallel_rank"u8, request.DataParallelRank);
        if (request.Adapter is { } adapter)
        {
            json.WriteStartArray("lora"u8);
            json.WriteStringValue(adapter.Name);
            json.WriteNumberValue(adapter.Id);
            json.WriteStringValue(adapter.Path);
            json.WriteEndArray();
        }

        if (options.ReasoningEnded is { } ended)
        {
            json.WriteBoolean("reasoning_ended"u8, ended);
        }

        CommonFields.WriteRaw(json, "reasoning_parser_kwargs"u8, options.ReasoningParserKwargsJson);
        CommonFields.WriteRaw(json, "kv_hints"u8, request.KvHintsJson);
        MediaFields.Write(json, request.Media);
        if (request.Text is { } text)
        {
            WriteText(json, text);
        }
    }

    private static void WriteText(Utf8JsonWriter json, EngineText text)
    {
        json.WriteStartObject("text"u8);
        CommonFields.WriteText(json, "prompt"u8, text.Prompt);
        CommonFields.WriteNumber(json, "tokens_max"u8, text.PromptTokensMax);
        CommonFields.WriteFlag(json, "names_tokens"u8, text.NamesPromptTokens ? true : null);
        json.WriteEndObject();
    }

    /// <summary>vLLM reads it itself: of the worker's own is only what a prefill worker left.</summary>
    private static void WriteNative(Utf8JsonWriter json, NativeGenerate native, ReadOnlyMemory<byte>? kvTransferParams)
    {
        CommonFields.WriteRaw(json, "native"u8, native.Json);
        json.WriteStartObject("sampling"u8);
        WriteTransfer(json, kvTransferParams);
        json.WriteEndObject();
    }

    private static void WriteTransfer(Utf8JsonWriter json, ReadOnlyMemory<byte>? kvTransferParams) =>
        CommonFields.WriteRaw(json, "kv_transfer_params"u8, kvTransferParams);

    private static void WriteSampling(Utf8JsonWriter json, EngineRequest request)
    {
        var options = request.Options;
        var sampling = options.SamplingOptions;
        json.WriteStartObject("sampling"u8);
        CommonFields.WriteSampling(json, sampling);
        CommonFields.WriteFlag(json, "include_stop_str_in_output"u8, sampling.IncludeStopStrInOutput);
        CommonFields.WriteIds(json, "allowed_token_ids"u8, sampling.AllowedTokenIds);
        CommonFields.WriteIds(json, "logprob_token_ids"u8, sampling.LogprobTokenIds);
        CommonFields.WriteNumber(json, "routed_experts_prompt_start"u8, sampling.RoutedExpertsPromptStart);
        WriteLists(json, sampling);
        WriteStops(json, request);
        CommonFields.WriteTexts(json, "stop"u8, request.Text?.StopStrings);
        CommonFields.WriteFlag(json, "skip_special_tokens"u8, request.Text?.SkipSpecialTokens);
        WriteLogprobs(json, options);
        if (sampling.GuidedDecoding is { } guided)
        {
            WriteGuided(json, guided);
        }

        json.WriteEndObject();
    }

    private static void WriteLists(Utf8JsonWriter json, SamplingOptions sampling)
    {
        if (sampling.LogitBias is { } bias)
        {
            json.WriteStartObject("logit_bias"u8);
            foreach (var (token, value) in bias)
            {
                json.WriteNumber(token.ToString(CultureInfo.InvariantCulture), value);
            }

            json.WriteEndObject();
        }

        if (sampling.BadWordsTokenIds is { } words)
        {
            json.WriteStartArray("bad_words_token_ids"u8);
            foreach (var word in words)
            {
                json.WriteStartArray();
                foreach (var id in word)
                {
                    json.WriteNumberValue(id);
                }

                json.WriteEndArray();
            }

            json.WriteEndArray();
        }
    }

    private static void WriteStops(Utf8JsonWriter json, EngineRequest request)
    {
        var stop = request.Options.StopConditions;
        CommonFields.WriteNumber(json, "min_tokens"u8, request.MinTokens);
        CommonFields.WriteFlag(json, "ignore_eos"u8, stop.IgnoreEos);
        CommonFields.WriteNumber(json, "thinking_token_budget"u8, stop.MaxThinkingTokens);
        if (stop.StopTokenIds is not null || stop.StopTokenIdsHidden is not null)
        {
            // The union whatever the order on the wire: the reference loses it in one order (behaviour.md, 12).
            CommonFields.WriteIds(json, "stop_token_ids"u8, [.. (stop.StopTokenIds ?? []).Union(stop.StopTokenIdsHidden ?? [])]);
        }
    }

    private static void WriteLogprobs(Utf8JsonWriter json, PreprocessedRequest options)
    {
        if (options.SamplingOptions.LogprobTokenIds is not { Count: > 0 })
        {
            CommonFields.WriteNumber(json, "logprobs"u8, options.Logprobs);
        }

        CommonFields.WriteNumber(json, "prompt_logprobs"u8, options.PromptLogprobs);
        // Prompt logprobs cannot come out of the cache, so reading it is switched off unless the client insists.
        CommonFields.WriteFlag(
            json,
            "skip_reading_prefix_cache"u8,
            options.SamplingOptions.SkipReadingPrefixCache ?? (options.PromptLogprobs is null ? null : true)
        );
    }

    private static void WriteGuided(Utf8JsonWriter json, GuidedDecoding guided)
    {
        json.WriteStartObject("structured_outputs"u8);
        CommonFields.WriteRaw(json, "json"u8, guided.JsonSchema);
        CommonFields.WriteText(json, "regex"u8, guided.Regex);
        CommonFields.WriteText(json, "grammar"u8, guided.Grammar);
        CommonFields.WriteText(json, "whitespace_pattern"u8, guided.WhitespacePattern);
        if (guided.Choice is { } choice)
        {
            json.WriteStartArray("choice"u8);
            foreach (var text in choice)
            {
                json.WriteStringValue(text);
            }

            json.WriteEndArray();
        }

        if (guided.StructuralTag is { } tag)
        {
            WriteStructuralTag(json, tag);
        }

        json.WriteEndObject();
    }

    private static void WriteStructuralTag(Utf8JsonWriter json, ReadOnlyMemory<byte> tag)
    {
        // The engine wants the object as text; text that is text already stays as it is.
        var isText = tag.Span.Length > 0 && tag.Span[0] == (byte)'"';
        json.WritePropertyName("structural_tag"u8);
        if (isText)
        {
            json.WriteRawValue(tag.Span, skipInputValidation: true);
        }
        else
        {
            json.WriteStringValue(tag.Span);
        }
    }
}
