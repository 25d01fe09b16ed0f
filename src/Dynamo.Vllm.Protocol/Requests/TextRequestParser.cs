using System.Buffers;
using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.Protocol.Requests;

/// <summary>A chat or completion request as the client wrote it, to <see cref="TextRequest"/>.</summary>
/// <remarks>
/// Unknown keys are skipped, as are those that the reference does not act on, and null counts as absent. Types are checked here, since
/// the engine's own process does not survive a wrong one. Golden file: tests/golden/llm/other-kinds.json.
/// </remarks>
public static class TextRequestParser
{
    /// <summary>Reads one body.</summary>
    /// <exception cref="ProtocolException">The message names the field, the value where it is short, and the limit.</exception>
    public static TextRequest Parse(ReadOnlySpan<byte> body, PayloadCodec codec)
    {
        if (codec == PayloadCodec.MessagePack)
        {
            return Parse(body);
        }

        var packed = new ArrayBufferWriter<byte>(body.Length + 16);
        MessagePackJson.WriteMessagePack(body, packed);
        return Parse(packed.WrittenSpan);
    }

    private static TextRequest Parse(ReadOnlySpan<byte> body)
    {
        var reader = new MessagePackReader(body);
        if (reader.PeekType() != MessagePackType.Map)
        {
            throw new ProtocolException("request body is not a map");
        }

        var prompt = default(TextPromptParser);
        ReadPrompt(reader, ref prompt);
        var request = new TextRequest { Prompt = prompt.Finish() };
        var fields = default(Fields);
        for (var left = reader.ReadMapHeader(); left > 0; left--)
        {
            var key = reader.ReadStringBytes();
            if (!reader.TryReadNil() && !SamplingOptionsParser.TryReadNumber(key, ref reader, request.SamplingOptions, ""))
            {
                ReadField(key, ref reader, request, ref fields);
            }
        }

        request.Id = fields.Id ?? fields.RequestId;
        request.CacheSalt = fields.CacheSalt ?? fields.ExtraCacheSalt;
        request.StopConditions.MaxThinkingTokens = fields.ThinkingBudget ?? fields.LegacyThinkingBudget;
        return request;
    }

    /// <summary>A pass of its own: what makes the prompt depends on several fields, in any order.</summary>
    private static void ReadPrompt(MessagePackReader reader, ref TextPromptParser prompt)
    {
        for (var left = reader.ReadMapHeader(); left > 0; left--)
        {
            var key = reader.ReadStringBytes();
            if (!reader.TryReadNil() && !prompt.TryRead(key, ref reader))
            {
                reader.Skip();
            }
        }
    }

    private static void ReadField(ReadOnlySpan<byte> key, ref MessagePackReader reader, TextRequest request, ref Fields fields)
    {
        switch (key)
        {
            case var _ when key.SequenceEqual("max_tokens"u8):
                request.StopConditions.MaxTokens = RequestValues.Int32(ref reader, "max_tokens");
                break;
            case var _ when key.SequenceEqual("min_tokens"u8):
                request.StopConditions.MinTokens = RequestValues.Int32(ref reader, "min_tokens");
                break;
            case var _ when key.SequenceEqual("ignore_eos"u8):
                request.StopConditions.IgnoreEos = RequestValues.Boolean(ref reader, "ignore_eos");
                break;
            case var _ when key.SequenceEqual("stop"u8):
                request.StopStrings = ReadStops(ref reader);
                break;
            case var _ when key.SequenceEqual("thinking_token_budget"u8):
                fields.ThinkingBudget = RequestValues.Int32(ref reader, "thinking_token_budget");
                break;
            default:
                ReadHint(key, ref reader, request, ref fields);
                break;
        }
    }

    private static void ReadHint(ReadOnlySpan<byte> key, ref MessagePackReader reader, TextRequest request, ref Fields fields)
    {
        switch (key)
        {
            case var _ when key.SequenceEqual("id"u8):
                fields.Id = RequestValues.Text(ref reader, "id");
                break;
            case var _ when key.SequenceEqual("request_id"u8):
                fields.RequestId = RequestValues.Text(ref reader, "request_id");
                break;
            case var _ when key.SequenceEqual("nvext"u8):
                ReadNvext(ref reader, ref fields.CacheSalt, ref fields.LegacyThinkingBudget);
                break;
            case var _ when key.SequenceEqual("extra_args"u8):
                ReadExtraArgs(ref reader, ref fields);
                break;
            case var _ when key.SequenceEqual("routing"u8):
                RequestHintsParser.ReadRouting(ref reader, request.Routing);
                break;
            case var _ when key.SequenceEqual("annotations"u8):
                request.Annotations = RequestHintsParser.ReadTexts(ref reader, "annotations");
                break;
            case var _ when key.SequenceEqual("agent_context"u8):
                request.SessionId = RequestHintsParser.ReadSessionId(ref reader);
                break;
            case var _ when key.SequenceEqual("encoder_result"u8):
                request.HasEncoderResult = true;
                reader.Skip();
                break;
            default:
                reader.Skip();
                break;
        }
    }

    private static void ReadNvext(ref MessagePackReader reader, ref string? salt, ref int? thinkingBudget)
    {
        for (var left = RequestValues.MapHeader(ref reader, "nvext"); left > 0; left--)
        {
            var key = reader.ReadStringBytes();
            if (reader.TryReadNil())
            {
                continue;
            }

            if (key.SequenceEqual("cache_salt"u8))
            {
                salt = RequestValues.Text(ref reader, "nvext.cache_salt") is { Length: > 0 } text ? text : null;
            }
            else if (key.SequenceEqual("max_thinking_tokens"u8))
            {
                thinkingBudget = RequestValues.Int32(ref reader, "nvext.max_thinking_tokens");
            }
            else
            {
                reader.Skip();
            }
        }
    }

    private static void ReadExtraArgs(ref MessagePackReader reader, ref Fields fields)
    {
        int? ignored = null;
        for (var left = RequestValues.MapHeader(ref reader, "extra_args"); left > 0; left--)
        {
            var key = reader.ReadStringBytes();
            if (key.SequenceEqual("nvext"u8) && !reader.TryReadNil())
            {
                ReadNvext(ref reader, ref fields.ExtraCacheSalt, ref ignored);
            }
            else if (!key.SequenceEqual("nvext"u8))
            {
                reader.Skip();
            }
        }
    }

    private static string[] ReadStops(ref MessagePackReader reader)
    {
        var isOne = reader.PeekType() == MessagePackType.String;
        var count = isOne ? 1 : RequestValues.ArrayHeader(ref reader, "stop");
        if (count > Limits.StopStringsMax)
        {
            throw new ProtocolException($"stop holds {count} texts, above the limit {Limits.StopStringsMax}");
        }

        var texts = new string[count];
        var start = reader.Position;
        for (var i = 0; i < count; i++)
        {
            texts[i] = RequestValues.Text(ref reader, isOne ? "stop" : $"stop[{i}]");
        }

        return reader.Position - start <= Limits.StopStringBytesMax
            ? texts
            : throw new ProtocolException($"stop takes {reader.Position - start} bytes, above the limit {Limits.StopStringBytesMax}");
    }

    private ref struct Fields
    {
        public string? Id;
        public string? RequestId;
        public string? CacheSalt;
        public string? ExtraCacheSalt;
        public int? ThinkingBudget;
        public int? LegacyThinkingBudget;
    }
}
