using CsCheck;

namespace Dynamo.Vllm.UnitTests.Protocol.Properties;

/// <summary>Bytes as a broken or hostile peer sends them: captures of real peers, with some of them changed.</summary>
/// <remarks>A failure prints the seed that makes the same bytes again (<c>CsCheck_Seed</c>).</remarks>
internal static class Damaged
{
    private const long TriesDefault = 4_000;

    private const int EditsMax = 8;

    /// <summary>Heads of MessagePack that announce more than can follow, and values at the edge of their type.</summary>
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
        [0xcb, 0x7f, 0xf0, 0, 0, 0, 0, 0, 0],
        [0xa2, 0xed, 0xa0],
        [0xc0],
        [0xc1],
        [0xc9, 0, 0, 0, 1, 5, 0],
        [.. Enumerable.Repeat((byte)0x91, 300)],
        [.. Enumerable.Repeat((byte)'[', 300)],
        "\\ud800"u8.ToArray(),
        "1e999"u8.ToArray(),
        "-"u8.ToArray(),
        "null"u8.ToArray(),
    ];

    private static readonly Gen<byte[]> Piece = Gen.OneOf(Gen.OneOf(Lies), Gen.Byte.Array[0, 12]);

    /// <summary>Of each property: a few seconds for all of them together, or what <c>CsCheck_Iter</c> says for a longer hunt.</summary>
    public static long Tries => Math.Max(Check.Iter, TriesDefault);

    /// <summary>One of the captures with one to eight edits.</summary>
    public static Gen<byte[]> Of(params byte[][] captures) =>
        Gen.Select(Gen.OneOf(captures), Gen.Select(Gen.Int[0, 5], Gen.UInt, Gen.Int[0, 40], Piece).Array[1, EditsMax])
            .Select(
                (capture, edits) =>
                {
                    var bytes = capture;
                    foreach (var (kind, place, length, piece) in edits)
                    {
                        bytes = Edit(bytes, kind, place, length, piece);
                    }

                    return bytes;
                }
            );

    private static byte[] Edit(byte[] bytes, int kind, uint place, int length, byte[] piece)
    {
        var at = (int)(place % (uint)(bytes.Length + 1));
        var count = Math.Min(length, bytes.Length - at);
        return kind switch
        {
            0 when at < bytes.Length => [.. bytes[..at], (byte)(bytes[at] ^ (1 << (length % 8))), .. bytes[(at + 1)..]],
            1 => bytes[..at], // cut
            2 => [.. bytes[..at], .. bytes[(at + count)..]], // taken out
            3 => [.. bytes[..at], .. bytes[at..(at + count)], .. bytes[at..]], // twice
            4 => [.. bytes[..at], .. piece, .. bytes[at..]], // put in
            _ => [.. bytes[..at], .. piece, .. bytes[Math.Min(at + piece.Length, bytes.Length)..]], // put over
        };
    }
}
