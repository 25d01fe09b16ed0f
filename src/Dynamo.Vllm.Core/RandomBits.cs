using System.Buffers.Binary;
using System.Security.Cryptography;

namespace Dynamo.Vllm.Core;

/// <summary>Numbers that no other process makes: instances, publishers, producers. Thread-safe.</summary>
public static class RandomBits
{
    public static ulong Next()
    {
        Span<byte> bytes = stackalloc byte[sizeof(ulong)];
        RandomNumberGenerator.Fill(bytes);
        return BinaryPrimitives.ReadUInt64LittleEndian(bytes);
    }
}
