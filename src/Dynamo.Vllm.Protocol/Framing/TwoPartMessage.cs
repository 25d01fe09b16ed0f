using System.Buffers;
using System.Buffers.Binary;

namespace Dynamo.Vllm.Protocol.Framing;

/// <summary>Header and body in one message: the payload of a request, and every frame on a call-home socket.</summary>
/// <remarks>
/// <code>
/// u64 header length | u64 body length | u64 checksum (0 in release builds, ignored) | header | body      big-endian
/// </code>
/// request-plane.md, 1.3. Golden files: tests/golden/runtime/tcp_request.bin, tcp_response.bin.
/// </remarks>
public static class TwoPartMessage
{
    /// <summary>Size of the three lengths in front, in bytes.</summary>
    public const int PrefixBytes = 24;

    /// <summary>Splits one complete message. Nothing may follow the body.</summary>
    public static (ReadOnlyMemory<byte> Header, ReadOnlyMemory<byte> Body) Split(ReadOnlyMemory<byte> message, int headerBytesMax)
    {
        if (message.Length < PrefixBytes)
        {
            throw new ProtocolException($"message of {message.Length} bytes is shorter than its {PrefixBytes}-byte prefix");
        }

        var (header, body) = ReadLengths(message.Span);
        if (header > (ulong)headerBytesMax)
        {
            throw new ProtocolException($"header length {header} is above the limit {headerBytesMax}");
        }

        var rest = (ulong)(message.Length - PrefixBytes) - Math.Min(header, (ulong)(message.Length - PrefixBytes));
        if (header > (ulong)(message.Length - PrefixBytes) || body != rest)
        {
            throw new ProtocolException(
                $"lengths {header} and {body} do not add up to the {message.Length - PrefixBytes} bytes that follow"
            );
        }

        return (message.Slice(PrefixBytes, (int)header), message.Slice(PrefixBytes + (int)header, (int)body));
    }

    /// <summary>Header and body length of a prefix of <see cref="PrefixBytes"/> bytes.</summary>
    public static (ulong HeaderBytes, ulong BodyBytes) ReadLengths(ReadOnlySpan<byte> prefix) =>
        (BinaryPrimitives.ReadUInt64BigEndian(prefix), BinaryPrimitives.ReadUInt64BigEndian(prefix[8..]));

    /// <summary>Writes the prefix; header and body follow.</summary>
    public static void WritePrefix(Span<byte> prefix, int headerBytes, int bodyBytes)
    {
        BinaryPrimitives.WriteUInt64BigEndian(prefix, (ulong)headerBytes);
        BinaryPrimitives.WriteUInt64BigEndian(prefix[8..], (ulong)bodyBytes);
        BinaryPrimitives.WriteUInt64BigEndian(prefix[16..], 0);
    }

    /// <summary>Writes a whole message.</summary>
    public static void Write(IBufferWriter<byte> output, ReadOnlySpan<byte> header, ReadOnlySpan<byte> body)
    {
        WritePrefix(output.GetSpan(PrefixBytes), header.Length, body.Length);
        output.Advance(PrefixBytes);
        output.Write(header);
        output.Write(body);
    }
}
