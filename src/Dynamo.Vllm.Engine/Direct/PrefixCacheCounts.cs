using System.Text.Json;
using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.Engine.Direct;

/// <summary>Look-ups of prompts in the prefix cache, of one step or of several.</summary>
/// <param name="Requests">Prompts; <c>Queries</c> and <c>Hits</c> are their tokens. The last three are those of preempted requests.</param>
internal readonly record struct PrefixCacheCounts(
    long Requests,
    long Queries,
    long Hits,
    long PreemptedRequests,
    long PreemptedQueries,
    long PreemptedHits
)
{
    /// <summary>The cache was emptied, which is told once.</summary>
    public bool IsReset { get; private init; }

    public static PrefixCacheCounts operator +(PrefixCacheCounts a, PrefixCacheCounts b) =>
        new(
            a.Requests + b.Requests,
            a.Queries + b.Queries,
            a.Hits + b.Hits,
            a.PreemptedRequests + b.PreemptedRequests,
            a.PreemptedQueries + b.PreemptedQueries,
            a.PreemptedHits + b.PreemptedHits
        )
        {
            IsReset = a.IsReset || b.IsReset,
        };

    /// <summary>Under the names of <c>PrefixCacheStats</c>, as those are read.</summary>
    public void Write(Utf8JsonWriter json, ReadOnlySpan<byte> name)
    {
        json.WriteStartObject(name);
        json.WriteBoolean("reset"u8, IsReset);
        json.WriteNumber("requests"u8, Requests);
        json.WriteNumber("queries"u8, Queries);
        json.WriteNumber("hits"u8, Hits);
        json.WriteNumber("preempted_requests"u8, PreemptedRequests);
        json.WriteNumber("preempted_queries"u8, PreemptedQueries);
        json.WriteNumber("preempted_hits"u8, PreemptedHits);
        json.WriteEndObject();
    }

    public static PrefixCacheCounts Read(ref MessagePackReader reader)
    {
        var counts = default(PrefixCacheCounts);
        for (var left = reader.ReadMapHeader(); left > 0; left--)
        {
            var name = reader.ReadStringBytes();
            if (name.SequenceEqual("reset"u8))
            {
                counts = counts with { IsReset = reader.ReadBoolean() };
                continue;
            }

            if (NamedNumbers.ReadOrSkip(ref reader) is not { } value)
            {
                continue;
            }

            counts = name switch
            {
                _ when name.SequenceEqual("requests"u8) => counts with { Requests = value },
                _ when name.SequenceEqual("queries"u8) => counts with { Queries = value },
                _ when name.SequenceEqual("hits"u8) => counts with { Hits = value },
                _ when name.SequenceEqual("preempted_requests"u8) => counts with { PreemptedRequests = value },
                _ when name.SequenceEqual("preempted_queries"u8) => counts with { PreemptedQueries = value },
                _ when name.SequenceEqual("preempted_hits"u8) => counts with { PreemptedHits = value },
                _ => counts,
            };
        }

        return counts;
    }
}
