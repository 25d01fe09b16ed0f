namespace Dynamo.Vllm.Core.Engines;

/// <summary>A vector for each prompt, in the order of the prompts.</summary>
public sealed class PromptVectors
{
    private readonly ReadOnlyMemory<byte> _floats;
    private readonly int[] _ends;

    /// <param name="floats">Little-endian 32-bit floats of all vectors, one behind the other.</param>
    /// <param name="lengths">How many floats each vector has.</param>
    /// <param name="promptTokens">Of all prompts.</param>
    public PromptVectors(ReadOnlyMemory<byte> floats, IReadOnlyList<int> lengths, long promptTokens)
    {
        _floats = floats;
        _ends = new int[lengths.Count];
        var end = 0;
        for (var i = 0; i < _ends.Length; i++)
        {
            _ends[i] = end += lengths[i] * sizeof(float);
        }

        if (end != floats.Length)
        {
            throw new ArgumentException($"{floats.Length} bytes are not those of {lengths.Count} vectors with {end}", nameof(floats));
        }

        PromptTokens = promptTokens;
    }

    public int Count => _ends.Length;

    public long PromptTokens { get; }

    /// <summary>Bytes of all vectors.</summary>
    public int ByteCount => _floats.Length;

    /// <summary>Little-endian 32-bit floats.</summary>
    public ReadOnlySpan<byte> this[int index] => _floats.Span[(index == 0 ? 0 : _ends[index - 1]).._ends[index]];
}
