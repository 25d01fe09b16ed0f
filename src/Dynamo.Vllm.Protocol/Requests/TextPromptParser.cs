using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.Protocol.Requests;

/// <summary>The fields of a body that make its prompt. The messages go before
/// <c>prompt</c>, that before <c>text</c>, as in the reference.</summary>
internal ref struct TextPromptParser
{
    private ReadOnlyMemory<byte>? _messages;
    private ReadOnlyMemory<byte>? _templateKwargs;
    private ReadOnlyMemory<byte>? _templateArgs;
    private TextPrompt? _prompt;
    private string? _text;

    /// <summary>The prompt of the fields that were read.</summary>
    public readonly TextPrompt Finish()
    {
        if (_messages is not null)
        {
            return new TextPrompt
            {
                MessagesJson = _messages,
                TemplateVariablesJson = [.. new[] { _templateKwargs, _templateArgs }.OfType<ReadOnlyMemory<byte>>()],
            };
        }

        return _prompt
            ?? (
                _text is null
                    ? throw new ProtocolException("No input parameter found in request: it holds neither messages nor prompt nor text")
                    : new TextPrompt { Text = _text }
            );
    }

    /// <returns>False: the field is none of the prompt's, and the reader stands before its value.</returns>
    public bool TryRead(ReadOnlySpan<byte> key, ref MessagePackReader reader)
    {
        switch (key)
        {
            case var _ when key.SequenceEqual("messages"u8):
                _messages = ReadMessages(ref reader);
                break;
            case var _ when key.SequenceEqual("chat_template_kwargs"u8):
                _templateKwargs = ReadVariables(ref reader, "chat_template_kwargs");
                break;
            case var _ when key.SequenceEqual("chat_template_args"u8):
                _templateArgs = ReadVariables(ref reader, "chat_template_args");
                break;
            case var _ when key.SequenceEqual("prompt"u8):
                _prompt = ReadPrompt(ref reader);
                break;
            case var _ when key.SequenceEqual("text"u8):
                CheckLength(reader, "text");
                _text = RequestValues.Text(ref reader, "text");
                break;
            default:
                return false;
        }

        return true;
    }

    private static ReadOnlyMemory<byte> ReadMessages(ref MessagePackReader reader)
    {
        CheckLength(reader, "messages");
        var probe = reader;
        var count = RequestValues.ArrayHeader(ref probe, "messages");
        for (var i = 0; i < count; i++)
        {
            if (probe.PeekType() != MessagePackType.Map)
            {
                throw RequestValues.Wrong(ref probe, $"messages[{i}]", "an object");
            }

            probe.Skip();
        }

        return MessagePackJson.ReadAsJson(ref reader, "messages");
    }

    private static ReadOnlyMemory<byte> ReadVariables(ref MessagePackReader reader, string field)
    {
        CheckLength(reader, field);
        var probe = reader;
        for (var left = RequestValues.MapHeader(ref probe, field); left > 0; left--)
        {
            // A program of the caller's, which nobody would bound. The frontend refuses it, too.
            if (probe.PeekType() == MessagePackType.String && probe.ReadStringBytes().SequenceEqual("chat_template"u8))
            {
                throw new ProtocolException($"`chat_template` is not supported inside `{field}`");
            }

            probe.Skip();
        }

        return RequestValues.JsonMap(ref reader, field);
    }

    /// <summary>A text, token ids, or a list with one of them: an answer has no place for the choices of several prompts.</summary>
    private static TextPrompt ReadPrompt(ref MessagePackReader reader)
    {
        CheckLength(reader, "prompt");
        if (reader.PeekType() == MessagePackType.String)
        {
            return new TextPrompt { Text = RequestValues.Text(ref reader, "prompt"), IsCompletion = true };
        }

        if (reader.PeekType() != MessagePackType.Array)
        {
            throw RequestValues.Wrong(ref reader, "prompt", "a string or an array of token ids");
        }

        var inner = reader;
        var count = inner.ReadArrayHeader();
        if (count == 0 || inner.PeekType() == MessagePackType.Integer)
        {
            return new TextPrompt { TokenIds = RequestValues.TokenIds(ref reader, "prompt"), IsCompletion = true };
        }

        if (count > 1)
        {
            throw new ProtocolException($"prompt holds {count} prompts, above the limit 1");
        }

        reader = inner;
        return inner.PeekType() == MessagePackType.String
            ? new TextPrompt { Text = RequestValues.Text(ref reader, "prompt[0]"), IsCompletion = true }
            : new TextPrompt { TokenIds = RequestValues.TokenIds(ref reader, "prompt[0]"), IsCompletion = true };
    }

    private static void CheckLength(MessagePackReader reader, string field)
    {
        var start = reader.Position;
        reader.Skip();
        if (reader.Position - start > Limits.TextPromptBytesMax)
        {
            throw new ProtocolException($"{field} takes {reader.Position - start} bytes, above the limit {Limits.TextPromptBytesMax}");
        }
    }
}
