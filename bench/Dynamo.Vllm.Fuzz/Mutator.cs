namespace Dynamo.Vllm.Fuzz;

/// <summary>Damages bytes, quickly and without allocating: the same seed makes the same damage.</summary>
/// <remarks>One caller. The buffer holds what came out last.</remarks>
internal sealed class Mutator
{
    private const int EditsMax = 8;
    private const int PieceBytesMax = 40;

    /// <summary>Heads that announce more than can follow, values at the edge of their type, nesting.</summary>
    private static readonly byte[][] Lies =
    [
        [0xdd, 0xff, 0xff, 0xff, 0xff],
        [0xdf, 0xff, 0xff, 0xff, 0xff],
        [0xc6, 0xff, 0xff, 0xff, 0xff],
        [0xdb, 0x7f, 0xff, 0xff, 0xff],
        [0xdc, 0xff, 0xff],
        [0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        [0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0],
        [0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0],
        [0xa2, 0xed, 0xa0],
        [0xc0],
        [0xc1],
        [0xc9, 0, 0, 0, 1, 5, 0],
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        [.. Enumerable.Repeat((byte)0x91, 200)],
        [.. Enumerable.Repeat((byte)'[', 200)],
        [.. "\\ud800"u8],
        [.. "1e999"u8],
        [.. "-"u8],
        [.. "null"u8],
        [.. "18446744073709551616"u8],
        [.. "\"\":"u8],
    ];

    private readonly byte[] _buffer;
    private readonly byte[] _moved;
    private ulong _state;
    private int _length;

    public Mutator(int bytesMax)
    {
        _buffer = new byte[bytesMax + (EditsMax * 256)];
        _moved = new byte[_buffer.Length];
    }

    /// <summary>The damaged bytes of a seed.</summary>
    /// <param name="captures">One of them is where it begins.</param>
    /// <param name="seed">Any number.</param>
    public byte[] Damage(IReadOnlyList<byte[]> captures, ulong seed)
    {
        _state = (seed * 0x9E3779B97F4A7C15) + 0xD1B54A32D192ED03;
        var capture = captures[Next(captures.Count)];
        capture.CopyTo(_buffer, 0);
        _length = capture.Length;
        for (var edits = 1 + Next(EditsMax); edits > 0; edits--)
        {
            Edit();
        }

        return _buffer.AsSpan(0, _length).ToArray();
    }

    private void Edit()
    {
        var at = Next(_length + 1);
        var count = Math.Min(Next(PieceBytesMax + 1), _length - at);
        switch (Next(8))
        {
            case 0 when at < _length:
                _buffer[at] ^= (byte)(1 << Next(8));
                break;
            case 1 when at < _length:
                _buffer[at] = (byte)Next(256);
                break;
            case 2 when Next(8) == 0: // cut; seldom, since little is left of it for other edits
                _length = at;
                break;
            case 3:
                Replace(at, count, []);
                break;
            case 4:
                Replace(at, 0, _buffer.AsSpan(at, count).ToArray()); // twice
                break;
            case 5 when at < _length:
                _buffer[at] = (byte)(_buffer[at] + Next(5) - 2); // a length or a count that is off by little
                break;
            case 6:
                Replace(at, 0, Lies[Next(Lies.Length)]);
                break;
            default:
                var lie = Lies[Next(Lies.Length)];
                Replace(at, Math.Min(lie.Length, _length - at), lie);
                break;
        }
    }

    private void Replace(int at, int count, ReadOnlySpan<byte> piece)
    {
        var tail = _length - at - count;
        if (at + piece.Length + tail > _buffer.Length)
        {
            return;
        }

        _buffer.AsSpan(at + count, tail).CopyTo(_moved);
        piece.CopyTo(_buffer.AsSpan(at));
        _moved.AsSpan(0, tail).CopyTo(_buffer.AsSpan(at + piece.Length));
        _length = at + piece.Length + tail;
    }

    // xorshift64*: the generator is not the bottleneck then.
    private int Next(int bound)
    {
        _state ^= _state >> 12;
        _state ^= _state << 25;
        _state ^= _state >> 27;
        return (int)((_state * 0x2545F4914F6CDD1D >> 33) % (ulong)bound);
    }
}
