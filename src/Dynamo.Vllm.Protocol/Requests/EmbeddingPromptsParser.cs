using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.Protocol.Requests;

/// <summary>The four forms of <c>input</c>: a text, texts, token ids, lists of token ids. The first entry says which it is.</summary>
internal static class EmbeddingPromptsParser
{
    public static EmbeddingPrompts Read(ref MessagePackReader reader, string field)
    {
        if (reader.PeekType() == MessagePackType.String)
        {
            var bytes = 0;
            return new EmbeddingPrompts { Texts = [ReadText(ref reader, field, ref bytes)] };
        }

        if (reader.PeekType() != MessagePackType.Array)
        {
            throw RequestValues.Wrong(ref reader, field, "a string, or an array of strings, of token ids or of arrays of token ids");
        }

        var probe = reader;
        if (probe.ReadArrayHeader() == 0)
        {
            throw new ProtocolException($"{field} holds no entry, the limit is 1");
        }

        return probe.PeekType() switch
        {
            MessagePackType.String => new EmbeddingPrompts { Texts = ReadTexts(ref reader, field) },
            MessagePackType.Integer => ReadPrompt(ref reader, field),
            MessagePackType.Array => ReadPrompts(ref reader, field),
            _ => throw RequestValues.Wrong(ref probe, $"{field}[0]", "a string, a token id or an array of token ids"),
        };
    }

    private static string[] ReadTexts(ref MessagePackReader reader, string field)
    {
        var texts = new string[ReadCount(ref reader, field)];
        var bytes = 0;
        for (var i = 0; i < texts.Length; i++)
        {
            texts[i] = ReadText(ref reader, $"{field}[{i}]", ref bytes);
        }

        return texts;
    }

    private static string ReadText(ref MessagePackReader reader, string field, ref int bytes)
    {
        var probe = reader;
        probe.Skip();
        bytes += probe.Position - reader.Position;
        return bytes <= Limits.EmbeddingTextBytesMax
            ? RequestValues.Text(ref reader, field)
            : throw new ProtocolException($"{field} ends after {bytes} bytes of text, above the limit {Limits.EmbeddingTextBytesMax}");
    }

    private static EmbeddingPrompts ReadPrompt(ref MessagePackReader reader, string field)
    {
        var ids = ReadIds(ref reader, field, before: 0);
        return new EmbeddingPrompts { TokenIds = ids, TokenCounts = [ids.Length] };
    }

    private static EmbeddingPrompts ReadPrompts(ref MessagePackReader reader, string field)
    {
        var counts = new int[ReadCount(ref reader, field)];
        var all = new List<int>();
        for (var i = 0; i < counts.Length; i++)
        {
            var ids = ReadIds(ref reader, $"{field}[{i}]", all.Count);
            counts[i] = ids.Length;
            all.AddRange(ids);
        }

        return new EmbeddingPrompts { TokenIds = all.ToArray(), TokenCounts = counts };
    }

    private static int[] ReadIds(ref MessagePackReader reader, string field, int before)
    {
        if (reader.PeekType() == MessagePackType.Array)
        {
            var probe = reader;
            var count = before + (long)probe.ReadArrayHeader();
            if (count > Limits.EmbeddingTokensMax)
            {
                throw new ProtocolException($"{field} ends after {count} token ids, above the limit {Limits.EmbeddingTokensMax}");
            }
        }

        return RequestValues.TokenIds(ref reader, field);
    }

    private static int ReadCount(ref MessagePackReader reader, string field)
    {
        var count = reader.ReadArrayHeader();
        return count <= Limits.EmbeddingInputsMax
            ? count
            : throw new ProtocolException($"{field} holds {count} entries, above the limit {Limits.EmbeddingInputsMax}");
    }
}
