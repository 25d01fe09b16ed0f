using System.Text.Json;

namespace Dynamo.Vllm.Worker.Tools.Bench;

/// <summary>What a chunk of a streamed answer says to somebody who only measures.</summary>
/// <param name="HasChoice">It has a choice: what <c>vllm bench serve</c> counts as a token.</param>
/// <param name="PromptTokens">Usage; null where it is not told.</param>
/// <param name="CompletionTokens">Usage; null where it is not told.</param>
/// <param name="Error">The server's word for what went wrong; null as a rule.</param>
internal readonly record struct AnswerChunk(bool HasChoice, int? PromptTokens, int? CompletionTokens, string? Error)
{
    /// <exception cref="JsonException">It is no JSON object.</exception>
    public static AnswerChunk Read(ReadOnlySpan<byte> json)
    {
        var reader = new Utf8JsonReader(json);
        if (!reader.Read() || reader.TokenType != JsonTokenType.StartObject)
        {
            throw new JsonException("a chunk is no JSON object");
        }

        var (hasChoice, error) = (false, (string?)null);
        (int? Prompt, int? Completion) usage = default;
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            if (reader.ValueTextEquals("choices"u8))
            {
                reader.Read();
                hasChoice = reader.TokenType == JsonTokenType.StartArray && HasItem(ref reader);
            }
            else if (reader.ValueTextEquals("usage"u8))
            {
                reader.Read();
                usage = reader.TokenType == JsonTokenType.StartObject ? ReadUsage(ref reader) : usage;
            }
            else if (reader.ValueTextEquals("error"u8))
            {
                reader.Read();
                error = ReadError(ref reader);
            }
            else
            {
                reader.Skip();
            }
        }

        return new AnswerChunk(hasChoice, usage.Prompt, usage.Completion, error);
    }

    private static bool HasItem(ref Utf8JsonReader array)
    {
        var depth = array.CurrentDepth;
        array.Read();
        var hasItem = array.TokenType != JsonTokenType.EndArray;
        while (array.CurrentDepth > depth)
        {
            array.Read();
        }

        return hasItem;
    }

    private static (int? Prompt, int? Completion) ReadUsage(ref Utf8JsonReader reader)
    {
        (int? Prompt, int? Completion) usage = default;
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var isPrompt = reader.ValueTextEquals("prompt_tokens"u8);
            var isCompletion = reader.ValueTextEquals("completion_tokens"u8);
            reader.Read();
            if ((isPrompt || isCompletion) && reader.TokenType == JsonTokenType.Number && reader.TryGetInt32(out var count) && count >= 0)
            {
                usage = isPrompt ? (count, usage.Completion) : (usage.Prompt, count);
            }
            else
            {
                reader.Skip();
            }
        }

        return usage;
    }

    /// <summary>A text, or an object with a <c>message</c>, as servers of this API have it.</summary>
    private static string? ReadError(ref Utf8JsonReader reader)
    {
        if (reader.TokenType == JsonTokenType.String)
        {
            return reader.GetString();
        }

        if (reader.TokenType != JsonTokenType.StartObject)
        {
            reader.Skip();
            return reader.TokenType == JsonTokenType.Null ? null : "unknown";
        }

        string? message = null;
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var isMessage = reader.ValueTextEquals("message"u8);
            reader.Read();
            if (isMessage && reader.TokenType == JsonTokenType.String)
            {
                message = reader.GetString();
            }
            else
            {
                reader.Skip();
            }
        }

        return message ?? "unknown";
    }
}
