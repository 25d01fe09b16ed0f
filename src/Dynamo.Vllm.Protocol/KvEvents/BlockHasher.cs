using System.Buffers.Binary;
using System.IO.Hashing;
using System.Runtime.InteropServices;

namespace Dynamo.Vllm.Protocol.KvEvents;

/// <summary>Hashes of blocks, equal to those that routers compute from prompts.</summary>
/// <remarks>
/// <code>
/// seed     = 1337 + XXH3(lora name, 0) if any + XXH3(cache salt, 1) if any
/// local    = XXH3(u32le token* ‖ u64le media hash, ascending *, seed)
/// sequence = local of the first block; then XXH3(u64le previous ‖ u64le local, 1337)
/// </code>
/// kv-and-load.md, 3. Golden file: tests/golden/kv/hash-vectors.json.
/// </remarks>
public static class BlockHasher
{
    private const ulong ChainSeed = 1337;

    /// <summary>Share of an adapter's name in the seed; 0 without one.</summary>
    public static ulong HashLora(ReadOnlySpan<byte> name) => name.IsEmpty ? 0 : XxHash3.HashToUInt64(name, 0);

    /// <summary>Share of a cache salt in the seed; 0 without one.</summary>
    public static ulong HashSalt(ReadOnlySpan<byte> salt) => salt.IsEmpty ? 0 : XxHash3.HashToUInt64(salt, 1);

    public static ulong Seed(ulong loraHash, ulong saltHash) => unchecked(ChainSeed + loraHash + saltHash);

    /// <summary>Hash of one block without media.</summary>
    public static TokensHash HashTokens(ReadOnlySpan<uint> tokens, ulong seed)
    {
        if (!BitConverter.IsLittleEndian)
        {
            return HashBytes(tokens, [], seed);
        }

        return new(XxHash3.HashToUInt64(MemoryMarshal.AsBytes(tokens), unchecked((long)seed)));
    }

    /// <summary>Hash of one block with the media that lie in it.</summary>
    public static TokensHash HashTokens(ReadOnlySpan<uint> tokens, ReadOnlySpan<MediaObject> media, ulong seed) =>
        media.IsEmpty ? HashTokens(tokens, seed) : HashBytes(tokens, media, seed);

    /// <summary>Hash of the sequence that ends with a block.</summary>
    public static ulong Chain(ulong previous, TokensHash local)
    {
        Span<byte> pair = stackalloc byte[16];
        BinaryPrimitives.WriteUInt64LittleEndian(pair, previous);
        BinaryPrimitives.WriteUInt64LittleEndian(pair[8..], local.Value);
        return XxHash3.HashToUInt64(pair, (long)ChainSeed);
    }

    private static TokensHash HashBytes(ReadOnlySpan<uint> tokens, ReadOnlySpan<MediaObject> media, ulong seed)
    {
        var hashes = new ulong[media.Length];
        for (var i = 0; i < hashes.Length; i++)
        {
            hashes[i] = media[i].Hash;
        }

        Array.Sort(hashes);
        var bytes = new byte[(tokens.Length * sizeof(uint)) + (hashes.Length * sizeof(ulong))];
        for (var i = 0; i < tokens.Length; i++)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(i * sizeof(uint)), tokens[i]);
        }

        for (var i = 0; i < hashes.Length; i++)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan((tokens.Length * sizeof(uint)) + (i * sizeof(ulong))), hashes[i]);
        }

        return new(XxHash3.HashToUInt64(bytes, unchecked((long)seed)));
    }
}
