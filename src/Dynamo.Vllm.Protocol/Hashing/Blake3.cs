using System.Buffers.Binary;
using System.Numerics;

namespace Dynamo.Vllm.Protocol.Hashing;

/// <summary>BLAKE3 in plain hash mode with 32 bytes of output: checksums of model files and of the card.</summary>
/// <remarks>
/// Own code because no package with it restores (docs/decisions/0004-blake3.md). Follows the BLAKE3 paper, sections 2.1-2.4.
/// One pass over the input, one chaining value per tree level kept; used at start-up only, not on a hot path.
/// </remarks>
public static class Blake3
{
    public const int HashBytes = 32;

    private const int BlockBytes = 64;
    private const int ChunkBytes = 1024;
    private const uint ChunkStart = 1;
    private const uint ChunkEnd = 2;
    private const uint Parent = 4;
    private const uint Root = 8;

    private static readonly uint[] Iv = [0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19];

    private static ReadOnlySpan<byte> Permutation => [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];

    /// <summary>The 32-byte hash of <paramref name="data"/>.</summary>
    public static byte[] Hash(ReadOnlySpan<byte> data)
    {
        Span<uint> words = stackalloc uint[16];
        HashTree(data, chunkIndex: 0, isRoot: true, words);
        var hash = new byte[HashBytes];
        for (var i = 0; i < 8; i++)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(hash.AsSpan(4 * i), words[i]);
        }

        return hash;
    }

    /// <summary>The hash as 64 lower-case hexadecimal digits.</summary>
    public static string HashHex(ReadOnlySpan<byte> data) => Convert.ToHexStringLower(Hash(data));

    private static void HashTree(ReadOnlySpan<byte> data, ulong chunkIndex, bool isRoot, Span<uint> result)
    {
        if (data.Length <= ChunkBytes)
        {
            HashChunk(data, chunkIndex, isRoot, result);
            return;
        }

        // The left subtree is the largest power of two of whole chunks that leaves at least one byte to the right.
        var leftChunks = BitOperations.RoundUpToPowerOf2((uint)((data.Length - 1) / ChunkBytes + 1)) / 2;
        var leftBytes = (int)leftChunks * ChunkBytes;
        Span<uint> left = stackalloc uint[16];
        Span<uint> right = stackalloc uint[16];
        HashTree(data[..leftBytes], chunkIndex, isRoot: false, left);
        HashTree(data[leftBytes..], chunkIndex + leftChunks, isRoot: false, right);
        Span<uint> block = stackalloc uint[16];
        left[..8].CopyTo(block);
        right[..8].CopyTo(block[8..]);
        Compress(Iv, block, 0, BlockBytes, isRoot ? Parent | Root : Parent, result);
    }

    private static void HashChunk(ReadOnlySpan<byte> chunk, ulong chunkIndex, bool isRoot, Span<uint> result)
    {
        Span<uint> chaining = stackalloc uint[8];
        Span<uint> block = stackalloc uint[16];
        Span<byte> padded = stackalloc byte[BlockBytes];
        Iv.CopyTo(chaining);
        var flags = ChunkStart;
        for (var offset = 0; ; offset += BlockBytes)
        {
            var length = Math.Min(BlockBytes, chunk.Length - offset);
            padded.Clear();
            chunk.Slice(offset, length).CopyTo(padded);
            for (var i = 0; i < 16; i++)
            {
                block[i] = BinaryPrimitives.ReadUInt32LittleEndian(padded[(4 * i)..]);
            }

            var isLast = offset + BlockBytes >= chunk.Length;
            var blockFlags = isLast ? flags | ChunkEnd | (isRoot ? Root : 0) : flags;
            Compress(chaining, block, chunkIndex, (uint)length, blockFlags, result);
            if (isLast)
            {
                return;
            }

            result[..8].CopyTo(chaining);
            flags = 0;
        }
    }

    private static void Compress(
        ReadOnlySpan<uint> chaining,
        ReadOnlySpan<uint> blockWords,
        ulong counter,
        uint length,
        uint flags,
        Span<uint> state
    )
    {
        Span<uint> block = stackalloc uint[16];
        Span<uint> permuted = stackalloc uint[16];
        blockWords.CopyTo(block);
        Span<uint> input = stackalloc uint[8];
        chaining[..8].CopyTo(input);
        input.CopyTo(state);
        Iv.AsSpan(0, 4).CopyTo(state[8..]);
        state[12] = (uint)counter;
        state[13] = (uint)(counter >> 32);
        state[14] = length;
        state[15] = flags;
        for (var round = 0; round < 7; round++)
        {
            Round(state, block);
            for (var i = 0; i < 16; i++)
            {
                permuted[i] = block[Permutation[i]];
            }

            permuted.CopyTo(block);
        }

        for (var i = 0; i < 8; i++)
        {
            state[i] ^= state[i + 8];
            state[i + 8] ^= input[i];
        }
    }

    private static void Round(Span<uint> state, ReadOnlySpan<uint> block)
    {
        Mix(state, 0, 4, 8, 12, block[0], block[1]);
        Mix(state, 1, 5, 9, 13, block[2], block[3]);
        Mix(state, 2, 6, 10, 14, block[4], block[5]);
        Mix(state, 3, 7, 11, 15, block[6], block[7]);
        Mix(state, 0, 5, 10, 15, block[8], block[9]);
        Mix(state, 1, 6, 11, 12, block[10], block[11]);
        Mix(state, 2, 7, 8, 13, block[12], block[13]);
        Mix(state, 3, 4, 9, 14, block[14], block[15]);
    }

    private static void Mix(Span<uint> state, int a, int b, int c, int d, uint x, uint y)
    {
        state[a] = state[a] + state[b] + x;
        state[d] = BitOperations.RotateRight(state[d] ^ state[a], 16);
        state[c] += state[d];
        state[b] = BitOperations.RotateRight(state[b] ^ state[c], 12);
        state[a] = state[a] + state[b] + y;
        state[d] = BitOperations.RotateRight(state[d] ^ state[a], 8);
        state[c] += state[d];
        state[b] = BitOperations.RotateRight(state[b] ^ state[c], 7);
    }
}
