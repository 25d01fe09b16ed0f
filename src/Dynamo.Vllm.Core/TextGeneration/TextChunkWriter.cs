using System.Buffers;
using System.Text.Encodings.Web;
using System.Text.Json;
using Dynamo.Vllm.Core.Engines;

namespace Dynamo.Vllm.Core.TextGeneration;

/// <summary>Engine outputs to chunks of OpenAI's streams (llm.md, 6.1).</summary>
/// <remarks>One per request; a chunk is valid until the next one is written. Not thread-safe.</remarks>
internal sealed class TextChunkWriter
{
    // The model's name is the frontend's to know: what the reference sends, clients of its frontend see.
    private const string Model = "unknown";

    // Read by a parser of ours at once, never by a browser.
    private static readonly JsonWriterOptions Options = new()
    {
        SkipValidation = true,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    private readonly string _id;
    private readonly bool _isCompletion;
    private readonly ArrayBufferWriter<byte> _buffer = new(256);
    private int _completionTokens;

    /// <param name="id">Named in every chunk.</param>
    /// <param name="isCompletion">The form of a completion, not of a chat.</param>
    public TextChunkWriter(string id, bool isCompletion)
    {
        _id = id;
        _isCompletion = isCompletion;
    }

    /// <param name="output">Of the engine.</param>
    /// <param name="finishReason">In OpenAI's words; null while the choice goes on.</param>
    /// <param name="created">When.</param>
    public ReadOnlyMemory<byte> Write(EngineOutput output, string? finishReason, DateTimeOffset created)
    {
        _completionTokens += output.Tokens.Length;
        _buffer.ResetWrittenCount();
        using (var json = new Utf8JsonWriter(_buffer, Options))
        {
            json.WriteStartObject();
            json.WriteString("id"u8, _id);
            json.WriteNumber("created"u8, created.ToUnixTimeSeconds());
            json.WriteString("object"u8, _isCompletion ? "text_completion"u8 : "chat.completion.chunk"u8);
            json.WriteString("model"u8, Model);
            json.WriteStartArray("choices"u8);
            WriteChoice(json, output, finishReason);
            json.WriteEndArray();
            if (finishReason is not null)
            {
                WriteUsage(json, output);
            }

            json.WriteEndObject();
        }

        return _buffer.WrittenMemory;
    }

    private void WriteChoice(Utf8JsonWriter json, EngineOutput output, string? finishReason)
    {
        json.WriteStartObject();
        json.WriteNumber("index"u8, output.Index);
        if (_isCompletion)
        {
            json.WriteString("text"u8, output.TextUtf8.Span);
        }
        else
        {
            json.WriteStartObject("delta"u8);
            json.WriteString("role"u8, "assistant"u8);
            json.WriteString("content"u8, output.TextUtf8.Span);
            json.WriteEndObject();
        }

        if (finishReason is null)
        {
            json.WriteNull("finish_reason"u8);
        }
        else
        {
            json.WriteString("finish_reason"u8, finishReason);
        }

        json.WriteEndObject();
    }

    /// <summary>Of all choices so far: the frontend hands on what came last.</summary>
    private void WriteUsage(Utf8JsonWriter json, EngineOutput output)
    {
        json.WriteStartObject("usage"u8);
        json.WriteNumber("prompt_tokens"u8, output.PromptTokens ?? 0);
        json.WriteNumber("completion_tokens"u8, _completionTokens);
        json.WriteNumber("total_tokens"u8, (output.PromptTokens ?? 0) + _completionTokens);
        if (output.CachedTokens is { } cached)
        {
            json.WriteStartObject("prompt_tokens_details"u8);
            json.WriteNumber("cached_tokens"u8, cached);
            json.WriteEndObject();
        }
        else
        {
            json.WriteNull("prompt_tokens_details"u8);
        }

        json.WriteEndObject();
    }
}
