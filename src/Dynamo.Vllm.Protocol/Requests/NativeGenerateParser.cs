using System.Text;
using System.Text.Json;
using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.Protocol.Requests;

/// <summary>Reads <c>extra_args.vllm_tito</c> (llm.md, 6.6).</summary>
/// <remarks>
/// vLLM checks types when it reads the envelope, but it also fills in fields that are its own business, and numbers that its processes
/// cannot pass on: a client's <c>_bad_words_token_ids</c> with an empty list in it ends the reference's engine.
/// </remarks>
internal static class NativeGenerateParser
{
    private const string Field = "extra_args.vllm_tito";

    /// <summary>vLLM's.</summary>
    private const int SaltCharactersMax = 1024;

    public static NativeGenerate Read(ref MessagePackReader reader)
    {
        var start = reader.Position;
        var probe = reader;
        probe.Skip();
        if (probe.Position - start > Limits.GuidedDecodingBytesMax)
        {
            throw new ProtocolException($"{Field} takes {probe.Position - start} bytes, above the limit {Limits.GuidedDecodingBytesMax}");
        }

        if (reader.PeekType() != MessagePackType.Map)
        {
            throw RequestValues.Wrong(ref reader, Field, "an object");
        }

        var json = MessagePackJson.ReadAsJson(ref reader, Field);
        using var document = JsonDocument.Parse(json, new JsonDocumentOptions { MaxDepth = Limits.NestingDepthMax + 1 });
        return Read(document.RootElement, json);
    }

    private static NativeGenerate Read(JsonElement envelope, byte[] json)
    {
        if (Get(envelope, "content_parts") is { } parts && (parts.ValueKind != JsonValueKind.Array || parts.GetArrayLength() > 0))
        {
            throw new ProtocolException("TITO raw multimodal content_parts are not supported");
        }

        if (Get(envelope, "features") is not null)
        {
            throw new ProtocolException($"{Field}.features: multimodal features are not served by this worker");
        }

        CheckEnvelope(envelope);
        if (Get(envelope, "sampling_params") is not { ValueKind: JsonValueKind.Object } sampling)
        {
            throw new ProtocolException($"{Field}.sampling_params must be an object");
        }

        foreach (var property in sampling.EnumerateObject())
        {
            if (property.Name.StartsWith('_'))
            {
                throw new ProtocolException($"sampling_params.{property.Name} is not a client's to set");
            }
        }

        CheckNumbers(sampling, "sampling_params");
        return new NativeGenerate
        {
            Json = json,
            N = Get(sampling, "n") is { ValueKind: JsonValueKind.Number } n && n.TryGetInt32(out var count) ? count : 1,
            CacheSalt = Get(envelope, "cache_salt") is { ValueKind: JsonValueKind.String } salt ? salt.GetString() : null,
            JsonSchema = Get(sampling, "structured_outputs") is { ValueKind: JsonValueKind.Object } outputs
                ? Raw(Get(outputs, "json"))
                : null,
            RoutedExpertsPromptStart = ReadPromptStart(sampling),
        };
    }

    private static void CheckEnvelope(JsonElement envelope)
    {
        if (
            Get(envelope, "cache_salt") is { } salt
            && (salt.ValueKind != JsonValueKind.String || salt.GetString()!.Length is < 1 or > SaltCharactersMax)
        )
        {
            throw new ProtocolException($"cache_salt must be a string of 1 to {SaltCharactersMax} characters");
        }

        if (Get(envelope, "priority") is { } priority && (priority.ValueKind != JsonValueKind.Number || !priority.TryGetInt64(out _)))
        {
            throw new ProtocolException("priority must be an integer");
        }

        if (Get(envelope, "kv_transfer_params") is { } transfer)
        {
            if (transfer.ValueKind != JsonValueKind.Object)
            {
                throw new ProtocolException("kv_transfer_params must be an object");
            }

            CheckNumbers(transfer, "kv_transfer_params");
        }
    }

    private static int ReadPromptStart(JsonElement sampling)
    {
        if (!sampling.TryGetProperty("routed_experts_prompt_start", out var value))
        {
            return 0;
        }

        return value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var start) && start >= 0
            ? start
            : throw new ProtocolException("sampling_params.routed_experts_prompt_start must be a non-negative integer");
    }

    /// <summary>What is above 64 bits with a sign cannot be passed on to the
    /// engine's process. The depth was bounded by the parser.</summary>
    private static void CheckNumbers(JsonElement element, string path)
    {
        switch (element.ValueKind)
        {
            case JsonValueKind.Object:
                foreach (var property in element.EnumerateObject())
                {
                    CheckNumbers(property.Value, $"{path}.{property.Name}");
                }

                break;
            case JsonValueKind.Array:
                foreach (var item in element.EnumerateArray())
                {
                    CheckNumbers(item, path);
                }

                break;
            case JsonValueKind.Number when element.TryGetUInt64(out var value) && value > long.MaxValue:
                throw new ProtocolException($"{path} is {value}, above the limit {long.MaxValue}");
            default:
                break;
        }
    }

    private static JsonElement? Get(JsonElement map, string name) =>
        map.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null ? value : null;

    private static ReadOnlyMemory<byte>? Raw(JsonElement? value) =>
        value is { } element ? (ReadOnlyMemory<byte>?)Encoding.UTF8.GetBytes(element.GetRawText()) : null;
}
