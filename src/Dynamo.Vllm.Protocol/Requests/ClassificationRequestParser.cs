using System.Buffers;
using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.Protocol.Requests;

/// <summary>A client's body for <c>/v1/classify</c> or <c>/v1/pooling</c>; the latter is the one with <c>encoding_format</c>.</summary>
/// <remarks>Unknown keys are skipped and null counts as absent, as in the reference.</remarks>
public static class ClassificationRequestParser
{
    private static readonly string[] Encodings = ["float", "base64", "bytes", "bytes_only"];
    private static readonly string[] NumberTypes = ["float32", "float16", "bfloat16", "fp8_e4m3", "fp8_e5m2"];
    private static readonly string[] Endiannesses = ["native", "big", "little"];
    private static readonly string[] Sides = ["left", "right"];

    /// <summary>Reads one body.</summary>
    /// <exception cref="ProtocolException">The message names the field, the value where it is short, and the limit.</exception>
    public static ClassificationRequest Parse(ReadOnlySpan<byte> body, PayloadCodec codec)
    {
        if (codec == PayloadCodec.MessagePack)
        {
            return Parse(body);
        }

        var packed = new ArrayBufferWriter<byte>(body.Length + 16);
        MessagePackJson.WriteMessagePack(body, packed);
        return Parse(packed.WrittenSpan);
    }

    private static ClassificationRequest Parse(ReadOnlySpan<byte> body)
    {
        var reader = new MessagePackReader(body);
        if (reader.PeekType() != MessagePackType.Map)
        {
            throw new ProtocolException("request body is not a map");
        }

        var (prompts, isPooling) = ReadPrompts(reader);
        var request = new ClassificationRequest { Prompts = prompts, IsPooling = isPooling };
        for (var left = reader.ReadMapHeader(); left > 0; left--)
        {
            var key = reader.ReadStringBytes();
            if (!reader.TryReadNil())
            {
                ReadField(key, ref reader, request);
            }
        }

        return request;
    }

    /// <summary>A pass of its own: what the other fields mean depends on it.</summary>
    private static (EmbeddingPrompts Prompts, bool IsPooling) ReadPrompts(MessagePackReader reader)
    {
        EmbeddingPrompts? prompts = null;
        var isPooling = false;
        for (var left = reader.ReadMapHeader(); left > 0; left--)
        {
            var key = reader.ReadStringBytes();
            isPooling |= key.SequenceEqual("encoding_format"u8);
            if (reader.TryReadNil())
            {
                continue;
            }

            if (key.SequenceEqual("input"u8))
            {
                prompts = EmbeddingPromptsParser.Read(ref reader, "input");
            }
            else
            {
                reader.Skip();
            }
        }

        return (prompts ?? throw new ProtocolException("input is missing"), isPooling);
    }

    private static void ReadField(ReadOnlySpan<byte> key, ref MessagePackReader reader, ClassificationRequest request)
    {
        switch (key)
        {
            case var _ when key.SequenceEqual("model"u8):
                request.Model = RequestValues.Text(ref reader, "model");
                break;
            case var _ when key.SequenceEqual("request_id"u8):
                request.RequestId = RequestValues.Text(ref reader, "request_id");
                break;
            case var _ when key.SequenceEqual("use_activation"u8):
                request.UseActivation = RequestValues.Boolean(ref reader, "use_activation");
                break;
            case var _ when key.SequenceEqual("truncate_prompt_tokens"u8):
                request.TruncatePromptTokens = ReadLength(ref reader);
                break;
            case var _ when key.SequenceEqual("truncation_side"u8):
                request.TruncationSide = Word(ref reader, "truncation_side", Sides);
                break;
            case var _ when key.SequenceEqual("add_special_tokens"u8):
                request.AddSpecialTokens = RequestValues.Boolean(ref reader, "add_special_tokens");
                break;
            case var _ when key.SequenceEqual("cache_salt"u8):
                request.CacheSalt = RequestValues.Text(ref reader, "cache_salt");
                break;
            case var _ when key.SequenceEqual("priority"u8):
                request.Priority = RequestValues.Int32(ref reader, "priority");
                break;
            case var _ when request.IsPooling:
                ReadPoolingField(key, ref reader, request);
                break;
            default:
                reader.Skip();
                break;
        }
    }

    private static void ReadPoolingField(ReadOnlySpan<byte> key, ref MessagePackReader reader, ClassificationRequest request)
    {
        switch (key)
        {
            case var _ when key.SequenceEqual("encoding_format"u8):
                request.Encoding = Word(ref reader, "encoding_format", Encodings);
                break;
            case var _ when key.SequenceEqual("embed_dtype"u8):
                request.NumberType = Word(ref reader, "embed_dtype", NumberTypes);
                break;
            case var _ when key.SequenceEqual("endianness"u8):
                request.Endianness = Word(ref reader, "endianness", Endiannesses);
                break;
            case var _ when key.SequenceEqual("task"u8):
                request.Task = RequestValues.Text(ref reader, "task");
                break;
            case var _ when key.SequenceEqual("dimensions"u8):
                throw new ProtocolException("dimensions is currently not supported");
            default:
                reader.Skip();
                break;
        }
    }

    private static int ReadLength(ref MessagePackReader reader)
    {
        var length = RequestValues.Int32(ref reader, "truncate_prompt_tokens");
        return length >= -1 ? length : throw new ProtocolException($"truncate_prompt_tokens is {length}, below the limit -1");
    }

    private static string Word(ref MessagePackReader reader, string field, string[] words)
    {
        const int shownCharactersMax = 32;
        var word = RequestValues.Text(ref reader, field);
        return Array.IndexOf(words, word) >= 0
            ? word
            : throw new ProtocolException(
                $"{field} is '{(word.Length <= shownCharactersMax ? word : word[..shownCharactersMax] + "...")}', "
                    + $"must be one of {string.Join(", ", words)}"
            );
    }
}
