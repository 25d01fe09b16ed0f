using System.Buffers;
using System.Buffers.Binary;
using System.Text;

namespace Dynamo.Vllm.Protocol.Framing;

/// <summary>The answer to a request frame: u32 length, then that many bytes. Empty means accepted (request-plane.md, 1.2).</summary>
/// <remarks>Only the prefixes <c>Server unavailable:</c> and <c>Server overloaded:</c> mean rejection to the caller.</remarks>
public static class RequestAck
{
    public const string Overloaded = "Server overloaded: worker at capacity";

    public const string InvalidPath = "Invalid endpoint path";

    public static string UnknownEndpoint(string path) => $"Server unavailable: unknown endpoint {path}";

    /// <summary>A request whose header says nowhere to answer to. The prefix, since its caller would else wait for ever.</summary>
    public static string Unanswerable(string problem) => $"Server unavailable: the request cannot be answered: {problem}";

    public static string FrameTooLarge(long frameBytes, long frameBytesMax) =>
        $"Read error: message too large: {frameBytes} bytes (max: {frameBytesMax} bytes)";

    /// <summary>Writes one answer; <paramref name="text"/> null means accepted.</summary>
    public static void Write(IBufferWriter<byte> output, string? text)
    {
        var length = text is null ? 0 : Encoding.UTF8.GetByteCount(text);
        var span = output.GetSpan(4 + length);
        BinaryPrimitives.WriteUInt32BigEndian(span, (uint)length);
        if (text is not null)
        {
            Encoding.UTF8.GetBytes(text, span[4..]);
        }

        output.Advance(4 + length);
    }
}
