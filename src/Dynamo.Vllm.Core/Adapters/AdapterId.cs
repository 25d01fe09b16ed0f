using System.Buffers.Binary;
using System.Text;
using Blake3;

namespace Dynamo.Vllm.Core.Adapters;

/// <summary>The number of an adapter, derived from its name so that all workers agree (llm-registration.md, 6).</summary>
/// <remarks>Golden file: tests/golden/llm/lora.json.</remarks>
public static class AdapterId
{
    /// <returns>1 to 2^31-1, as the engine wants it.</returns>
    public static int Of(string name)
    {
        var hash = Hasher.Hash(Encoding.UTF8.GetBytes(name));
        var id = (int)(BinaryPrimitives.ReadUInt64BigEndian(hash.AsSpan()) & int.MaxValue);
        return id == 0 ? 1 : id;
    }
}
