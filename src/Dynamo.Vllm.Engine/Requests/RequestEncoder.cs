using System.Buffers;
using System.Globalization;
using System.Text.Json;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Protocol.Requests;

namespace Dynamo.Vllm.Engine.Requests;

/// <summary>An engine request as the JSON that the guest builds SamplingParams and prompt from (behaviour.md, 12).</summary>
internal static class RequestEncoder
{
    public static void Write(IBufferWriter<byte> output, EngineRequest request)
    {
        var options = request.Options;
        using var json = new Utf8JsonWriter(output, new JsonWriterOptions { SkipValidation = true });
        json.WriteStartObject();
        json.WriteString("request_id"u8, request.RequestId);
        WriteSampling(json, request);
        if (!string.IsNullOrEmpty(options.PromptEmbeds))
        {
            json.WriteString("prompt_embeds"u8, options.PromptEmbeds);
        }

        if (options.CacheSalt is { } salt)
        {
            // The prefix lets KV events be attributed to the salt that the router knows (llm.md, 2.5).
            json.WriteString("cache_salt"u8, "dynamo-cache-salt:" + salt);
        }

        if (options.Routing.Priority != 0)
        {
            // Dynamo: higher is more urgent. vLLM: lower is served first.
            json.WriteNumber("priority"u8, -(long)options.Routing.Priority);
        }

        WriteOptional(json, request);
        json.WriteEndObject();
    }

    private static void WriteOptional(Utf8JsonWriter json, EngineRequest request)
    {
        var options = request.Options;
        if (request.DataParallelRank is { } rank)
        {
            json.WriteNumber("data_parallel_rank"u8, rank);
        }

        if (request.Adapter is { } adapter)
        {
            json.WriteStartArray("lora"u8);
            json.WriteStringValue(adapter.Name);
            json.WriteNumberValue(adapter.Id);
            json.WriteStringValue(adapter.Path);
            json.WriteEndArray();
        }

        if (options.SessionId is { } session)
        {
            json.WriteString("session_id"u8, session);
        }

        if (options.ReasoningEnded is { } ended)
        {
            json.WriteBoolean("reasoning_ended"u8, ended);
        }

        if (options.ReasoningParserKwargsJson is { } kwargs)
        {
            json.WritePropertyName("reasoning_parser_kwargs"u8);
            json.WriteRawValue(kwargs.Span, skipInputValidation: true);
        }

        if (request.TraceHeaders is { } headers)
        {
            json.WriteStartObject("trace_headers"u8);
            foreach (var (name, value) in headers)
            {
                json.WriteString(name, value);
            }

            json.WriteEndObject();
        }
    }

    private static void WriteSampling(Utf8JsonWriter json, EngineRequest request)
    {
        var options = request.Options;
        var sampling = options.SamplingOptions;
        json.WriteStartObject("sampling"u8);
        Number(json, "n"u8, sampling.N);
        Number(json, "temperature"u8, sampling.Temperature);
        Number(json, "top_p"u8, sampling.TopP);
        Number(json, "top_k"u8, sampling.TopK);
        Number(json, "min_p"u8, sampling.MinP);
        Number(json, "presence_penalty"u8, sampling.PresencePenalty);
        Number(json, "frequency_penalty"u8, sampling.FrequencyPenalty);
        Number(json, "repetition_penalty"u8, sampling.RepetitionPenalty);
        Number(json, "seed"u8, sampling.Seed);
        Flag(json, "include_stop_str_in_output"u8, sampling.IncludeStopStrInOutput);
        Ids(json, "allowed_token_ids"u8, sampling.AllowedTokenIds);
        Ids(json, "logprob_token_ids"u8, sampling.LogprobTokenIds);
        Number(json, "routed_experts_prompt_start"u8, sampling.RoutedExpertsPromptStart);
        WriteLists(json, sampling);
        WriteStops(json, request);
        WriteLogprobs(json, options);
        if (sampling.GuidedDecoding is { } guided)
        {
            WriteGuided(json, guided);
        }

        if (request.KvTransferParamsJson is { } transfer)
        {
            json.WritePropertyName("kv_transfer_params"u8);
            json.WriteRawValue(transfer.Span, skipInputValidation: true);
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
        json.WriteNumber("max_tokens"u8, request.MaxTokens);
        Number(json, "min_tokens"u8, request.MinTokens);
        Flag(json, "ignore_eos"u8, stop.IgnoreEos);
        Number(json, "thinking_token_budget"u8, stop.MaxThinkingTokens);
        if (stop.StopTokenIds is not null || stop.StopTokenIdsHidden is not null)
        {
            // The union whatever the order on the wire: the reference loses it in one order (behaviour.md, 12).
            Ids(json, "stop_token_ids"u8, [.. (stop.StopTokenIds ?? []).Union(stop.StopTokenIdsHidden ?? [])]);
        }
    }

    private static void WriteLogprobs(Utf8JsonWriter json, PreprocessedRequest options)
    {
        if (options.SamplingOptions.LogprobTokenIds is not { Count: > 0 })
        {
            Number(json, "logprobs"u8, options.Logprobs);
        }

        Number(json, "prompt_logprobs"u8, options.PromptLogprobs);
        // Prompt logprobs cannot come out of the cache, so reading it is switched off unless the client insists.
        Flag(
            json,
            "skip_reading_prefix_cache"u8,
            options.SamplingOptions.SkipReadingPrefixCache ?? (options.PromptLogprobs is null ? null : true)
        );
    }

    private static void WriteGuided(Utf8JsonWriter json, GuidedDecoding guided)
    {
        json.WriteStartObject("structured_outputs"u8);
        if (guided.JsonSchema is { } schema)
        {
            json.WritePropertyName("json"u8);
            json.WriteRawValue(schema.Span, skipInputValidation: true);
        }

        Text(json, "regex"u8, guided.Regex);
        Text(json, "grammar"u8, guided.Grammar);
        Text(json, "whitespace_pattern"u8, guided.WhitespacePattern);
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

    private static void Number(Utf8JsonWriter json, ReadOnlySpan<byte> name, long? value)
    {
        if (value is { } number)
        {
            json.WriteNumber(name, number);
        }
    }

    private static void Number(Utf8JsonWriter json, ReadOnlySpan<byte> name, double? value)
    {
        if (value is not { } number)
        {
            return;
        }

        // Python tells 2 from 2.0, and so do the engine's error texts, which clients see.
        json.WritePropertyName(name);
        json.WriteRawValue(
            number.ToString("R", CultureInfo.InvariantCulture) is var text && text.AsSpan().ContainsAny('.', 'E') ? text : text + ".0",
            skipInputValidation: true
        );
    }

    private static void Flag(Utf8JsonWriter json, ReadOnlySpan<byte> name, bool? value)
    {
        if (value is { } flag)
        {
            json.WriteBoolean(name, flag);
        }
    }

    private static void Text(Utf8JsonWriter json, ReadOnlySpan<byte> name, string? value)
    {
        if (value is not null)
        {
            json.WriteString(name, value);
        }
    }

    private static void Ids(Utf8JsonWriter json, ReadOnlySpan<byte> name, IReadOnlyList<int>? ids)
    {
        if (ids is null)
        {
            return;
        }

        json.WriteStartArray(name);
        foreach (var id in ids)
        {
            json.WriteNumberValue(id);
        }

        json.WriteEndArray();
    }
}
