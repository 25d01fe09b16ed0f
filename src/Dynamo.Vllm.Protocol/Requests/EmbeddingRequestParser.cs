using System.Buffers;
using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.Protocol.Requests;

/// <summary>Body of an embedding request: the client's own (<c>input</c>), or what the frontend made of it (<c>token_ids</c>).</summary>
/// <remarks>
/// Unknown keys are skipped and null counts as absent, as in the reference. Golden file: tests/golden/llm/other-kinds.json.
/// </remarks>
public static class EmbeddingRequestParser
{
    /// <summary>What is shown of a value that is not one of those that are allowed.</summary>
    private const int ShownCharactersMax = 32;

    /// <summary>Reads one body.</summary>
    /// <exception cref="ProtocolException">The message names the field, the value where it is short, and the limit.</exception>
    public static EmbeddingRequest Parse(ReadOnlySpan<byte> body, PayloadCodec codec)
    {
        if (codec == PayloadCodec.MessagePack)
        {
            return Parse(body);
        }

        var packed = new ArrayBufferWriter<byte>(body.Length + 16);
        MessagePackJson.WriteMessagePack(body, packed);
        return Parse(packed.WrittenSpan);
    }

    private static EmbeddingRequest Parse(ReadOnlySpan<byte> body)
    {
        var reader = new MessagePackReader(body);
        if (reader.PeekType() != MessagePackType.Map)
        {
            throw new ProtocolException("request body is not a map");
        }

        var fields = default(Fields);
        for (var left = reader.ReadMapHeader(); left > 0; left--)
        {
            var key = reader.ReadStringBytes();
            if (!reader.TryReadNil())
            {
                ReadField(key, ref reader, ref fields);
            }
        }

        return new EmbeddingRequest
        {
            Prompts = fields.TokenIds ?? fields.Input ?? throw new ProtocolException("input is missing, and so is token_ids"),
            IsPreprocessed = fields.TokenIds is not null,
            Model = fields.Model,
            Dimensions = fields.Dimensions,
            TruncatePromptTokens = fields.TruncatePromptTokens,
            AddSpecialTokens = fields.AddSpecialTokens,
        };
    }

    private static void ReadField(ReadOnlySpan<byte> key, ref MessagePackReader reader, ref Fields fields)
    {
        switch (key)
        {
            case var _ when key.SequenceEqual("input"u8):
                fields.Input = EmbeddingPromptsParser.Read(ref reader, "input");
                break;
            case var _ when key.SequenceEqual("token_ids"u8):
                fields.TokenIds = EmbeddingPromptsParser.Read(ref reader, "token_ids");
                break;
            case var _ when key.SequenceEqual("model"u8):
                fields.Model = RequestValues.Text(ref reader, "model");
                break;
            case var _ when key.SequenceEqual("dimensions"u8):
                fields.Dimensions = AtLeast(1, ref reader, "dimensions");
                break;
            case var _ when key.SequenceEqual("truncate_prompt_tokens"u8):
                fields.TruncatePromptTokens = AtLeast(-1, ref reader, "truncate_prompt_tokens");
                break;
            case var _ when key.SequenceEqual("add_special_tokens"u8):
                fields.AddSpecialTokens = RequestValues.Boolean(ref reader, "add_special_tokens");
                break;
            case var _ when key.SequenceEqual("encoding_format"u8):
                CheckEncoding(RequestValues.Text(ref reader, "encoding_format"));
                break;
            default:
                reader.Skip();
                break;
        }
    }

    /// <summary>Only checked: the frontend makes of our answer what the client asked for.</summary>
    private static void CheckEncoding(string word)
    {
        if (word is not ("float" or "base64"))
        {
            var shown = word.Length <= ShownCharactersMax ? word : word[..ShownCharactersMax] + "...";
            throw new ProtocolException($"encoding_format is '{shown}', must be 'float' or 'base64'");
        }
    }

    private static int AtLeast(int least, ref MessagePackReader reader, string field)
    {
        var value = RequestValues.Int32(ref reader, field);
        return value >= least ? value : throw new ProtocolException($"{field} is {value}, below the limit {least}");
    }

    private ref struct Fields
    {
        public EmbeddingPrompts? Input;
        public EmbeddingPrompts? TokenIds;
        public string? Model;
        public int? Dimensions;
        public int? TruncatePromptTokens;
        public bool? AddSpecialTokens;
    }
}
