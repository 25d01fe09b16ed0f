using System.Buffers;
using System.Buffers.Binary;

namespace Dynamo.Vllm.Protocol.Zmtp;

/// <summary>Bytes of ZMTP 3.0, the wire protocol of ZeroMQ, with the NULL mechanism.</summary>
/// <remarks>
/// <code>
/// greeting = ff 00*8 7f, 03 minor, mechanism[20], as-server, 00*31          64 bytes
/// frame    = flags, length: u8 or u64be, body         flags: 1 more frames follow, 2 long length, 4 command
/// READY    = 05 "READY" ( len8 name, len32be value )*
/// </code> We announce 3.0, so that 3.1 peers subscribe with messages; their
/// SUBSCRIBE and PING commands are understood all the same. RFC 23 and 37.
/// </remarks>
public static class ZmtpCodec
{
    public const int GreetingBytes = 64;

    public const int FrameHeaderBytesMax = 9;

    public const byte More = 1;

    public const byte Long = 2;

    public const byte Command = 4;

    private static readonly SearchValues<byte> Zero = SearchValues.Create([0]);

    public static byte[] Greeting()
    {
        var greeting = new byte[GreetingBytes];
        greeting[0] = 0xff;
        greeting[9] = 0x7f;
        greeting[10] = 3;
        "NULL"u8.CopyTo(greeting.AsSpan(12));
        return greeting;
    }

    public static void CheckGreeting(ReadOnlySpan<byte> greeting)
    {
        if (greeting[0] != 0xff || (greeting[9] & 1) == 0)
        {
            throw new ProtocolException("peer does not speak ZMTP");
        }

        if (greeting[10] < 3)
        {
            throw new ProtocolException($"peer speaks ZMTP {greeting[10]}; 3 is needed");
        }

        var mechanism = greeting.Slice(12, 20);
        var end = mechanism.IndexOfAny(Zero);
        if (!mechanism[..(end < 0 ? mechanism.Length : end)].SequenceEqual("NULL"u8))
        {
            throw new ProtocolException("peer wants a ZMTP security mechanism; only NULL is spoken here");
        }
    }

    public static byte[] Ready(ReadOnlySpan<byte> socketType)
    {
        var output = new ArrayBufferWriter<byte>();
        Span<byte> length = stackalloc byte[4];
        BinaryPrimitives.WriteInt32BigEndian(length, socketType.Length);
        WriteFrameHeader(output, Command, 6 + 12 + length.Length + socketType.Length);
        output.Write("\u0005READY"u8);
        output.Write("\u000bSocket-Type"u8);
        output.Write(length);
        output.Write(socketType);
        return output.WrittenSpan.ToArray();
    }

    /// <summary>Socket type that a READY command names, or empty.</summary>
    public static ReadOnlySpan<byte> SocketType(ReadOnlySpan<byte> properties)
    {
        while (properties.Length > 0)
        {
            var nameLength = properties[0];
            if (properties.Length < 1 + nameLength + 4)
            {
                break;
            }

            var name = properties.Slice(1, nameLength);
            var valueLength = BinaryPrimitives.ReadUInt32BigEndian(properties[(1 + nameLength)..]);
            properties = properties[(1 + nameLength + 4)..];
            if (valueLength > properties.Length)
            {
                break;
            }

            if (System.Text.Ascii.EqualsIgnoreCase(name, "Socket-Type"u8))
            {
                return properties[..(int)valueLength];
            }

            properties = properties[(int)valueLength..];
        }

        return [];
    }

    /// <summary>Splits a command into name and data.</summary>
    public static ReadOnlySpan<byte> SplitCommand(ReadOnlySpan<byte> body, out ReadOnlySpan<byte> data)
    {
        if (body.IsEmpty || body.Length < 1 + body[0])
        {
            throw new ProtocolException("ZMTP command ends early");
        }

        data = body[(1 + body[0])..];
        return body.Slice(1, body[0]);
    }

    public static void WriteFrameHeader(IBufferWriter<byte> output, byte flags, int length)
    {
        var span = output.GetSpan(FrameHeaderBytesMax);
        output.Advance(WriteFrameHeader(span, flags, length));
    }

    public static int WriteFrameHeader(Span<byte> span, byte flags, int length)
    {
        if (length <= byte.MaxValue)
        {
            span[0] = flags;
            span[1] = (byte)length;
            return 2;
        }

        span[0] = (byte)(flags | Long);
        BinaryPrimitives.WriteUInt64BigEndian(span[1..], (ulong)length);
        return 9;
    }

    /// <summary>Takes one frame off the front of the buffer. False: it is not complete.</summary>
    /// <exception cref="ProtocolException">The frame is longer than <paramref
    /// name="bytesMax"/>; nothing of that size was allocated.</exception>
    public static bool TryReadFrame(ref ReadOnlySequence<byte> buffer, int bytesMax, out byte flags, out ReadOnlySequence<byte> body)
    {
        flags = 0;
        body = default;
        Span<byte> header = stackalloc byte[FrameHeaderBytesMax];
        var available = (int)Math.Min(buffer.Length, FrameHeaderBytesMax);
        buffer.Slice(0, available).CopyTo(header);
        if (available < 2)
        {
            return false;
        }

        flags = header[0];
        var isLong = (flags & Long) != 0;
        if (isLong && available < FrameHeaderBytesMax)
        {
            return false;
        }

        var length = isLong ? BinaryPrimitives.ReadUInt64BigEndian(header[1..]) : header[1];
        if (length > (ulong)bytesMax)
        {
            throw new ProtocolException($"ZMTP frame of {length} bytes is above the limit {bytesMax}");
        }

        var start = isLong ? FrameHeaderBytesMax : 2;
        if (buffer.Length < start + (long)length)
        {
            return false;
        }

        body = buffer.Slice(start, (long)length);
        buffer = buffer.Slice(start + (long)length);
        return true;
    }
}
