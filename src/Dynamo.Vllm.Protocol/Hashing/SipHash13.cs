using System.Buffers.Binary;
using System.Numerics;

namespace Dynamo.Vllm.Protocol.Hashing;

/// <summary>SipHash with one round for each block and three at the end, both keys zero: the hasher of Rust's standard library.</summary>
/// <remarks>Only for identities that both sides derive from the same name (discovery.md, 5); without a secret key it defends against
/// nothing.</remarks>
public static class SipHash13
{
    private const int BlockBytes = 8;

    public static ulong Hash(ReadOnlySpan<byte> data)
    {
        var state = new State(0x736f6d6570736575, 0x646f72616e646f6d, 0x6c7967656e657261, 0x7465646279746573);
        var rest = data;
        for (; rest.Length >= BlockBytes; rest = rest[BlockBytes..])
        {
            state.Absorb(BinaryPrimitives.ReadUInt64LittleEndian(rest));
        }

        // The last block holds what is left, and the length in its highest byte.
        Span<byte> last = stackalloc byte[BlockBytes];
        rest.CopyTo(last);
        last[BlockBytes - 1] = (byte)data.Length;
        state.Absorb(BinaryPrimitives.ReadUInt64LittleEndian(last));
        return state.Finish();
    }

    private struct State(ulong v0, ulong v1, ulong v2, ulong v3)
    {
        public void Absorb(ulong block)
        {
            v3 ^= block;
            Round();
            v0 ^= block;
        }

        public ulong Finish()
        {
            v2 ^= 0xff;
            Round();
            Round();
            Round();
            return v0 ^ v1 ^ v2 ^ v3;
        }

        private void Round()
        {
            v0 += v1;
            v1 = BitOperations.RotateLeft(v1, 13) ^ v0;
            v0 = BitOperations.RotateLeft(v0, 32);
            v2 += v3;
            v3 = BitOperations.RotateLeft(v3, 16) ^ v2;
            v0 += v3;
            v3 = BitOperations.RotateLeft(v3, 21) ^ v0;
            v2 += v1;
            v1 = BitOperations.RotateLeft(v1, 17) ^ v2;
            v2 = BitOperations.RotateLeft(v2, 32);
        }
    }
}
