using System.Buffers;
using System.Buffers.Binary;
using System.Text;

namespace Dynamo.Vllm.Protocol.Framing;

/// <summary>One request on a TCP request connection.</summary>
/// <remarks>
/// <code>
/// u16 P | path, P bytes UTF-8 | u16 H | headers, H bytes JSON | u32 L | payload, L bytes: a two-part message    big-endian
/// </code>
/// request-plane.md, 1.1. Golden file: tests/golden/runtime/tcp_request.bin.
/// </remarks>
public static class RequestFrame
{
    private static readonly UTF8Encoding StrictUtf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>Total size of the frame that starts at <paramref name="buffer"/>, or false if the lengths have not all arrived.</summary>
    /// <param name="buffer">What has been received so far.</param>
    /// <param name="frameBytes">Whole frame in bytes. May be above any limit: the caller compares before it waits for the rest.</param>
    public static bool TryReadLength(in ReadOnlySequence<byte> buffer, out long frameBytes)
    {
        var reader = new SequenceReader<byte>(buffer);
        frameBytes = 0;
        if (
            !reader.TryReadBigEndian(out short path)
            || !TryAdvance(ref reader, (ushort)path)
            || !reader.TryReadBigEndian(out short headers)
            || !TryAdvance(ref reader, (ushort)headers)
            || !reader.TryReadBigEndian(out int payload)
        )
        {
            return false;
        }

        frameBytes = 8L + (ushort)path + (ushort)headers + (uint)payload;
        return true;
    }

    /// <summary>Splits one complete frame. The path is null if it is not UTF-8, which has an answer of its own.</summary>
    public static void Split(
        ReadOnlyMemory<byte> frame,
        out string? path,
        out ReadOnlyMemory<byte> headers,
        out ReadOnlyMemory<byte> payload
    )
    {
        var pathBytes = BinaryPrimitives.ReadUInt16BigEndian(frame.Span);
        var headersAt = 4 + pathBytes;
        var headerBytes = BinaryPrimitives.ReadUInt16BigEndian(frame.Span[(headersAt - 2)..]);
        try
        {
            path = StrictUtf8.GetString(frame.Span.Slice(2, pathBytes));
        }
        catch (DecoderFallbackException)
        {
            path = null;
        }

        headers = frame.Slice(headersAt, headerBytes);
        payload = frame[(headersAt + headerBytes + 4)..];
    }

    /// <summary>Writes a frame; used by callers of a worker, not by the worker.</summary>
    public static void Write(IBufferWriter<byte> output, string path, ReadOnlySpan<byte> headers, ReadOnlySpan<byte> payload)
    {
        var pathBytes = Encoding.UTF8.GetBytes(path);
        WriteUInt16(output, checked((ushort)pathBytes.Length));
        output.Write(pathBytes);
        WriteUInt16(output, checked((ushort)headers.Length));
        output.Write(headers);
        BinaryPrimitives.WriteUInt32BigEndian(output.GetSpan(4), (uint)payload.Length);
        output.Advance(4);
        output.Write(payload);
    }

    private static void WriteUInt16(IBufferWriter<byte> output, ushort value)
    {
        BinaryPrimitives.WriteUInt16BigEndian(output.GetSpan(2), value);
        output.Advance(2);
    }

    private static bool TryAdvance(ref SequenceReader<byte> reader, int count)
    {
        if (reader.Remaining < count)
        {
            return false;
        }

        reader.Advance(count);
        return true;
    }
}
