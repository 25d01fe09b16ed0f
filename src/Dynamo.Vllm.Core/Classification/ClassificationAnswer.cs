using System.Buffers;
using System.Runtime.InteropServices;
using System.Text.Json;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Protocol.Requests;

namespace Dynamo.Vllm.Core.Classification;

/// <summary>Classes or vectors as the one item of the response (llm.md, 6.5).</summary>
internal static class ClassificationAnswer
{
    private static readonly JsonWriterOptions Options = new() { SkipValidation = true };

    /// <summary>What every answer begins with.</summary>
    internal readonly record struct Head(string Id, DateTimeOffset Created, string Model);

    /// <summary>For each prompt how likely the classes are, and the name of the likeliest.</summary>
    public static ReadOnlyMemory<byte> WriteClasses(Head head, PromptVectors vectors, IReadOnlyDictionary<int, string> labels) =>
        Write(head, "classify", vectors, (json, index) => WriteClass(json, index, Floats(vectors[index]), labels));

    /// <summary>For each prompt the model's numbers, as numbers or as bytes in base64.</summary>
    public static ReadOnlyMemory<byte> WriteVectors(Head head, PromptVectors vectors, ClassificationRequest request) =>
        Write(head, "pool", vectors, (json, index) => WriteVector(json, index, vectors, request));

    private static ArrayBufferWriter<byte> Buffer(PromptVectors vectors) => new(256 + (128 * vectors.Count) + (4 * vectors.ByteCount));

    private static ReadOnlyMemory<byte> Write(Head head, string kind, PromptVectors vectors, Action<Utf8JsonWriter, int> writeEntry)
    {
        var buffer = Buffer(vectors);
        using (var json = new Utf8JsonWriter(buffer, Options))
        {
            json.WriteStartObject();
            json.WriteString("id"u8, $"{kind}-{head.Id}");
            json.WriteString("object"u8, "list"u8);
            json.WriteNumber("created"u8, head.Created.ToUnixTimeSeconds());
            json.WriteString("model"u8, head.Model);
            json.WriteStartArray("data"u8);
            for (var i = 0; i < vectors.Count; i++)
            {
                json.WriteStartObject();
                json.WriteNumber("index"u8, i);
                writeEntry(json, i);
                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteStartObject("usage"u8);
            json.WriteNumber("prompt_tokens"u8, vectors.PromptTokens);
            json.WriteNumber("total_tokens"u8, vectors.PromptTokens);
            json.WriteNumber("completion_tokens"u8, 0);
            json.WriteEndObject();
            json.WriteEndObject();
        }

        return buffer.WrittenMemory;
    }

    private static void WriteClass(Utf8JsonWriter json, int index, ReadOnlySpan<float> scores, IReadOnlyDictionary<int, string> labels)
    {
        var best = -1;
        for (var i = 0; i < scores.Length; i++)
        {
            best = best < 0 || scores[i] > scores[best] ? i : best;
        }

        json.WriteString("label"u8, labels.GetValueOrDefault(best));
        json.WritePropertyName("probs"u8);
        WriteNumbers(json, scores);
        json.WriteNumber("num_classes"u8, scores.Length);
    }

    private static void WriteVector(Utf8JsonWriter json, int index, PromptVectors vectors, ClassificationRequest request)
    {
        json.WriteString("object"u8, "pooling"u8);
        var numbers = vectors[index];
        if (request.IsBinary)
        {
            json.WriteBase64String("data"u8, numbers);
            if (request.Encoding == "bytes")
            {
                WriteShape(json, numbers.Length / request.NumberBytes, vectors.Rows(index));
            }

            return;
        }

        json.WritePropertyName("data"u8);
        var floats = Floats(numbers);
        if (vectors.Rows(index) is not { } rows)
        {
            WriteNumbers(json, floats);
            return;
        }

        json.WriteStartArray();
        var width = rows == 0 ? 0 : floats.Length / rows;
        for (var row = 0; row < rows; row++)
        {
            WriteNumbers(json, floats.Slice(row * width, width));
        }

        json.WriteEndArray();
    }

    private static void WriteShape(Utf8JsonWriter json, int count, int? rows)
    {
        json.WriteStartArray("shape"u8);
        if (rows is { } height)
        {
            json.WriteNumberValue(height);
            json.WriteNumberValue(height == 0 ? 0 : count / height);
        }
        else
        {
            json.WriteNumberValue(count);
        }

        json.WriteEndArray();
    }

    private static void WriteNumbers(Utf8JsonWriter json, ReadOnlySpan<float> numbers)
    {
        json.WriteStartArray();
        foreach (var number in numbers)
        {
            // As Python writes it: of the double that has the float's value. JSON has none for what is no number.
            if (float.IsFinite(number))
            {
                json.WriteNumberValue((double)number);
            }
            else
            {
                json.WriteNullValue();
            }
        }

        json.WriteEndArray();
    }

    // The guest's machine is ours, and little-endian.
    private static ReadOnlySpan<float> Floats(ReadOnlySpan<byte> bytes) => MemoryMarshal.Cast<byte, float>(bytes);
}
