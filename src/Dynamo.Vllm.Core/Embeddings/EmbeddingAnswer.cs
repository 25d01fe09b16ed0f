using System.Buffers;
using System.Text.Json;
using Dynamo.Vllm.Core.Engines;

namespace Dynamo.Vllm.Core.Embeddings;

/// <summary>Vectors as the one item of the response (llm.md, 6.4).</summary>
/// <remarks>
/// Always base64, as the reference sends it: the frontend makes numbers of it for clients that want them, and numbers in JSON
/// would be several times as long.
/// </remarks>
internal static class EmbeddingAnswer
{
    private const int EnvelopeBytes = 256;
    private const int EntryBytes = 64;

    // The encoder of JSON never has anything to escape in base64.
    private static readonly JsonWriterOptions Options = new() { SkipValidation = true };

    /// <summary>In OpenAI's form: for a frontend that passed the client's body on.</summary>
    public static ReadOnlyMemory<byte> Write(PromptVectors vectors, string model)
    {
        var buffer = Buffer(vectors);
        using (var json = new Utf8JsonWriter(buffer, Options))
        {
            json.WriteStartObject();
            json.WriteString("object"u8, "list"u8);
            json.WriteStartArray("data"u8);
            for (var i = 0; i < vectors.Count; i++)
            {
                json.WriteStartObject();
                json.WriteString("object"u8, "embedding"u8);
                json.WriteBase64String("embedding"u8, vectors[i]);
                json.WriteNumber("index"u8, i);
                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteString("model"u8, model);
            json.WriteStartObject("usage"u8);
            WriteCounts(json, vectors);
            json.WriteEndObject();
            json.WriteEndObject();
        }

        return buffer.WrittenMemory;
    }

    /// <summary>In the frontend's form: for one that made the token ids itself.</summary>
    public static ReadOnlyMemory<byte> WritePreprocessed(PromptVectors vectors)
    {
        var buffer = Buffer(vectors);
        using (var json = new Utf8JsonWriter(buffer, Options))
        {
            json.WriteStartObject();
            json.WriteStartArray("embeddings"u8);
            for (var i = 0; i < vectors.Count; i++)
            {
                json.WriteBase64StringValue(vectors[i]);
            }

            json.WriteEndArray();
            WriteCounts(json, vectors);
            json.WriteEndObject();
        }

        return buffer.WrittenMemory;
    }

    private static ArrayBufferWriter<byte> Buffer(PromptVectors vectors) =>
        new(EnvelopeBytes + (vectors.Count * EntryBytes) + System.Buffers.Text.Base64.GetMaxEncodedToUtf8Length(vectors.ByteCount));

    private static void WriteCounts(Utf8JsonWriter json, PromptVectors vectors)
    {
        json.WriteNumber("prompt_tokens"u8, vectors.PromptTokens);
        json.WriteNumber("total_tokens"u8, vectors.PromptTokens);
    }
}
