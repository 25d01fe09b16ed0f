using System.Text;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Protocol;
using Google.Protobuf.Collections;

namespace Dynamo.Vllm.Worker.GrpcRequests;

/// <summary>Prompts and the texts that end what follows them, found right in form.</summary>
internal static class PromptParts
{
    /// <summary>Ids above the model's own stand for media, of which there are none here.</summary>
    /// <exception cref="Protocol.Errors.RequestFailedException">The model does not know one of them.</exception>
    public static int[] ReadTokens(string field, RepeatedField<uint> ids, EngineDescription engine)
    {
        const int named = 8; // enough to see what is wrong
        var vocabulary = (uint)(engine.VocabularySize ?? int.MaxValue);
        var unknown = ids.Where(id => id >= vocabulary).Distinct().Take(named).ToList();
        return unknown.Count == 0
            ? Numbers.Tokens(field, ids)
            : throw Numbers.Refused(
                $"token_id(s) [{string.Join(", ", unknown)}] in prompt are out of vocabulary. Vocabulary size: {vocabulary}"
            );
    }

    /// <summary>The last ones stay, as vLLM cuts prompts for generation.</summary>
    public static int[] Truncate(int[] tokens, int count) => count >= tokens.Length ? tokens : tokens[^count..];

    public static void CheckLength(int[] tokens, EngineDescription engine)
    {
        if (tokens.Length > engine.MaxModelLength)
        {
            throw Numbers.Refused(
                $"this model's maximum context length is {engine.MaxModelLength} tokens, but the prompt contains "
                    + $"{tokens.Length} input tokens"
            );
        }
    }

    public static void CheckText(string text)
    {
        if (Encoding.UTF8.GetByteCount(text) > Limits.TextPromptBytesMax)
        {
            throw Numbers.Refused($"text takes more than {Limits.TextPromptBytesMax} bytes");
        }
    }

    public static string[] ReadStops(string field, RepeatedField<string> asked)
    {
        if (asked.Count > Limits.StopStringsMax)
        {
            throw Numbers.Refused($"{field} holds {asked.Count} texts, above the limit {Limits.StopStringsMax}");
        }

        var bytes = asked.Sum(text => (long)Encoding.UTF8.GetByteCount(text));
        return bytes <= Limits.StopStringBytesMax
            ? [.. asked]
            : throw Numbers.Refused($"{field} takes {bytes} bytes, above the limit {Limits.StopStringBytesMax}");
    }
}
