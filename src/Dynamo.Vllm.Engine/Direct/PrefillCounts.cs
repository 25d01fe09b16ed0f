using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.Engine.Direct;

/// <summary>Where the tokens of prompts came from, of one prompt or of several.</summary>
internal readonly record struct PrefillCounts(long Prompt, long Computed, long Cached, long LocalCached, long ExternalCached)
{
    public static PrefillCounts operator +(PrefillCounts a, PrefillCounts b) =>
        new(
            a.Prompt + b.Prompt,
            a.Computed + b.Computed,
            a.Cached + b.Cached,
            a.LocalCached + b.LocalCached,
            a.ExternalCached + b.ExternalCached
        );

    public static PrefillCounts Read(ReadOnlySpan<byte> statistics)
    {
        var reader = new MessagePackReader(statistics);
        var counts = default(PrefillCounts);
        for (var left = reader.ReadMapHeader(); left > 0; left--)
        {
            var name = reader.ReadStringBytes();
            if (NamedNumbers.ReadOrSkip(ref reader) is not { } value)
            {
                continue;
            }

            counts = name switch
            {
                _ when name.SequenceEqual("num_prompt_tokens"u8) => counts with { Prompt = value },
                _ when name.SequenceEqual("num_computed_tokens"u8) => counts with { Computed = value },
                _ when name.SequenceEqual("num_cached_tokens"u8) => counts with { Cached = value },
                _ when name.SequenceEqual("num_local_cached_tokens"u8) => counts with { LocalCached = value },
                _ when name.SequenceEqual("num_external_cached_tokens"u8) => counts with { ExternalCached = value },
                _ => counts,
            };
        }

        return counts;
    }
}
