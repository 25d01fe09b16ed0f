using Dynamo.Vllm.Protocol;

namespace Dynamo.Vllm.Testing.Decoders;

/// <summary>What holds for every decoder and any bytes: they are read or refused, and what is allocated has a bound.</summary>
public static class DecoderProof
{
    /// <summary>What a decoder takes for its result, its exception and whatever is compiled meanwhile.</summary>
    private const long AllocationBase = 512 * 1024;

    /// <summary>Bytes that a decoder may allocate for each byte that it was given: a node for each of them would be some 200.</summary>
    private const long AllocationFactor = 400;

    /// <summary>Decodes. Nothing but a <see cref="ProtocolException"/> may come out.</summary>
    /// <returns>False where the decoder refused.</returns>
    /// <exception cref="DecoderFaultException">The decoder allocated more than its bound.</exception>
    public static bool Survives(byte[] input, Action<byte[]> decode)
    {
        var before = GC.GetAllocatedBytesForCurrentThread();
        var isGood = true;
        try
        {
            decode(input);
        }
        catch (ProtocolException)
        {
            isGood = false;
        }

        var allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        var bound = AllocationBase + (AllocationFactor * input.Length);
        return allocated <= bound
            ? isGood
            : throw new DecoderFaultException($"{input.Length} bytes made the decoder allocate {allocated}, at most {bound} are right");
    }
}
