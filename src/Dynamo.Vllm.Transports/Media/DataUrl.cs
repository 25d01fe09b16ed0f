using System.Buffers;
using System.Buffers.Text;
using System.Text;
using Dynamo.Vllm.Protocol.Multimodal;

namespace Dynamo.Vllm.Transports.Media;

/// <summary><c>data:[media type][;base64],data</c>, in base64 only.</summary>
internal static class DataUrl
{
    public static byte[] Decode(MediaKind kind, string url, string field, int urlBytesMax)
    {
        var bytes = Encoding.UTF8.GetByteCount(url);
        if (bytes > urlBytesMax)
        {
            throw MediaRefusal.Of(
                field,
                $"the data URL has {bytes} bytes, above the limit {urlBytesMax}, which DYN_MM_MAX_DATA_URL_MB sets on the frontend and "
                    + "on the workers"
            );
        }

        var comma = url.IndexOf(',', StringComparison.Ordinal);
        if (comma < 0)
        {
            throw MediaRefusal.Of(field, "the data URL has no comma in front of its data");
        }

        var type = url.AsSpan("data:".Length, comma - "data:".Length);
        if (kind == MediaKind.Image && !type.StartsWith("image/", StringComparison.Ordinal))
        {
            throw MediaRefusal.Of(field, "the data URL's media type is none of an image");
        }

        if (!type.Contains(";base64", StringComparison.Ordinal))
        {
            throw MediaRefusal.Of(field, "the data URL must be base64 encoded");
        }

        // Escapes are undone for videos and sounds alone, as in the reference.
        var data = kind != MediaKind.Image && url.AsSpan(comma + 1).Contains('%') ? Uri.UnescapeDataString(url[(comma + 1)..]) : null;
        return Decode(data ?? url.AsSpan(comma + 1), field);
    }

    private static byte[] Decode(ReadOnlySpan<char> text, string field)
    {
        var utf8 = ArrayPool<byte>.Shared.Rent(text.Length);
        try
        {
            if (
                Ascii.FromUtf16(text, utf8, out var length) != OperationStatus.Done
                || utf8.AsSpan(0, length).IndexOfAny((byte)' ', (byte)'\n', (byte)'\r') >= 0 // strict: the decoder would pass over them
                || utf8.AsSpan(0, length).Contains((byte)'\t')
                || Base64.DecodeFromUtf8InPlace(utf8.AsSpan(0, length), out var bytes) != OperationStatus.Done
            )
            {
                throw MediaRefusal.Of(field, "the data URL's data are no valid base64");
            }

            return utf8.AsSpan(0, bytes).ToArray();
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(utf8, clearArray: true); // held a client's image
        }
    }
}
