using System.Globalization;
using System.Text.Json;
using Dynamo.Vllm.Protocol.Requests;

namespace Dynamo.Vllm.Engine.Requests;

/// <summary>Fields that requests of every form have on their way to the guest; a value that is null is left out.</summary>
internal static class CommonFields
{
    public static void WriteSalt(Utf8JsonWriter json, string? salt)
    {
        if (Salt(salt) is { } text)
        {
            json.WriteString("cache_salt"u8, text);
        }
    }

    /// <summary>The prefix lets KV events be attributed to the salt that the router knows (llm.md, 2.5).</summary>
    public static string? Salt(string? salt) => salt is null ? null : "dynamo-cache-salt:" + salt;

    public static void WritePriority(Utf8JsonWriter json, RoutingHints routing)
    {
        if (Priority(routing) is var priority and not 0)
        {
            json.WriteNumber("priority"u8, priority);
        }
    }

    /// <summary>Dynamo: higher is more urgent. vLLM: lower is served first.</summary>
    public static long Priority(RoutingHints routing) => -(long)routing.Priority;

    public static void WriteTraceHeaders(Utf8JsonWriter json, IReadOnlyDictionary<string, string>? headers)
    {
        if (headers is null)
        {
            return;
        }

        json.WriteStartObject("trace_headers"u8);
        foreach (var (name, value) in headers)
        {
            json.WriteString(name, value);
        }

        json.WriteEndObject();
    }

    /// <summary>The parameters that OpenAI's requests name likewise.</summary>
    public static void WriteSampling(Utf8JsonWriter json, SamplingOptions sampling)
    {
        WriteNumber(json, "n"u8, sampling.N);
        WriteNumber(json, "temperature"u8, sampling.Temperature);
        WriteNumber(json, "top_p"u8, sampling.TopP);
        WriteNumber(json, "top_k"u8, sampling.TopK);
        WriteNumber(json, "min_p"u8, sampling.MinP);
        WriteNumber(json, "presence_penalty"u8, sampling.PresencePenalty);
        WriteNumber(json, "frequency_penalty"u8, sampling.FrequencyPenalty);
        WriteNumber(json, "repetition_penalty"u8, sampling.RepetitionPenalty);
        WriteNumber(json, "seed"u8, sampling.Seed);
    }

    public static void WriteNumber(Utf8JsonWriter json, ReadOnlySpan<byte> name, long? value)
    {
        if (value is { } number)
        {
            json.WriteNumber(name, number);
        }
    }

    public static void WriteNumber(Utf8JsonWriter json, ReadOnlySpan<byte> name, double? value)
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

    public static void WriteFlag(Utf8JsonWriter json, ReadOnlySpan<byte> name, bool? value)
    {
        if (value is { } flag)
        {
            json.WriteBoolean(name, flag);
        }
    }

    public static void WriteText(Utf8JsonWriter json, ReadOnlySpan<byte> name, string? value)
    {
        if (value is not null)
        {
            json.WriteString(name, value);
        }
    }

    /// <summary>None at all is left out, too.</summary>
    public static void WriteTexts(Utf8JsonWriter json, ReadOnlySpan<byte> name, IReadOnlyList<string>? texts)
    {
        if (texts is not { Count: > 0 })
        {
            return;
        }

        json.WriteStartArray(name);
        foreach (var text in texts)
        {
            json.WriteStringValue(text);
        }

        json.WriteEndArray();
    }

    /// <summary>A value that is JSON already.</summary>
    public static void WriteRaw(Utf8JsonWriter json, ReadOnlySpan<byte> name, ReadOnlyMemory<byte>? value)
    {
        if (value is { } text)
        {
            json.WritePropertyName(name);
            json.WriteRawValue(text.Span, skipInputValidation: true);
        }
    }

    public static void WriteIds(Utf8JsonWriter json, ReadOnlySpan<byte> name, IReadOnlyList<int>? ids)
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
