using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Multimodal;

namespace Dynamo.Vllm.Core.Multimodal;

/// <summary>Ids of media for the engine's caches: the client's, else what the frontend routed by.</summary>
internal static class MediaIds
{
    /// <summary>Hexadecimal digits of a hash that routers know.</summary>
    private const int RoutingDigits = 16;

    /// <summary>Behind the digits: by its zeros the KV event path knows an id that stands for a routing hash.</summary>
    private const int MarkerZeros = 48;

    /// <summary>By the engine's names of the kinds. Null if nobody gave any.</summary>
    /// <exception cref="ProtocolException">A hash of the frontend is none.</exception>
    public static IReadOnlyDictionary<string, IReadOnlyList<string?>>? Choose(MultimodalInput input)
    {
        var given = input
            .Uuids?.Where(pair => pair.Value.Any(id => id is not null))
            .GroupBy(pair => KindName(pair.Key), pair => pair.Value)
            .ToDictionary(group => group.Key, group => (IReadOnlyList<string?>)[.. group.SelectMany(ids => ids)]);
        if (given is { Count: > 0 })
        {
            return given;
        }

        var hashes = input.HashesByModality?.Where(pair => pair.Value.Count > 0).ToList();
        if (hashes is { Count: > 0 })
        {
            return hashes.ToDictionary(pair => pair.Key, pair => Mark(pair.Value));
        }

        return input.ImageHashes is { Count: > 0 } images
            ? new Dictionary<string, IReadOnlyList<string?>> { ["image"] = Mark(images) }
            : null;
    }

    private static string KindName(string partType) =>
        partType.EndsWith("_url", StringComparison.Ordinal) ? partType[..^"_url".Length] : partType;

    private static IReadOnlyList<string?> Mark(IReadOnlyList<string?> hashes) => [.. hashes.Select(Mark)];

    private static string? Mark(string? hash)
    {
        if (hash is null)
        {
            return null;
        }

        return hash.Length >= RoutingDigits && hash.Take(RoutingDigits).All(char.IsAsciiHexDigit)
            ? hash[..RoutingDigits] + new string('0', MarkerZeros)
            : throw new ProtocolException(
                $"extra_args.mm_hashes: forwarded multimodal routing hashes must start with {RoutingDigits} hex characters"
            );
    }
}
