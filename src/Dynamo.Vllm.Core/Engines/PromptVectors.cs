namespace Dynamo.Vllm.Core.Engines;

/// <summary>A vector for each prompt, or a list of them, in the order of the prompts.</summary>
public sealed class PromptVectors
{
    private readonly ReadOnlyMemory<byte> _numbers;
    private readonly int[] _ends;
    private readonly IReadOnlyList<int> _rows;

    /// <param name="numbers">Of all prompts, one behind the other: little-endian 32-bit floats, unless others were asked for.</param>
    /// <param name="lengths">How many bytes each prompt's have.</param>
    /// <param name="rows">How many vectors each prompt has, -1 for one that stands by itself.</param>
    /// <param name="promptTokens">Of all prompts.</param>
    public PromptVectors(ReadOnlyMemory<byte> numbers, IReadOnlyList<int> lengths, IReadOnlyList<int> rows, long promptTokens)
    {
        _numbers = numbers;
        _rows = rows;
        _ends = new int[lengths.Count];
        var end = 0;
        for (var i = 0; i < _ends.Length; i++)
        {
            _ends[i] = end += lengths[i];
        }

        if (end != numbers.Length)
        {
            throw new ArgumentException($"{numbers.Length} bytes are not those of {lengths.Count} vectors with {end}", nameof(numbers));
        }

        PromptTokens = promptTokens;
    }

    public int Count => _ends.Length;

    public long PromptTokens { get; }

    /// <summary>Bytes of all vectors.</summary>
    public int ByteCount => _numbers.Length;

    /// <summary>Vectors of a prompt that has a list of them; null for one that stands by itself.</summary>
    public int? Rows(int index) => _rows[index] < 0 ? null : _rows[index];

    /// <summary>Little-endian 32-bit floats, unless others were asked for.</summary>
    public ReadOnlySpan<byte> this[int index] => _numbers.Span[(index == 0 ? 0 : _ends[index - 1]).._ends[index]];
}
