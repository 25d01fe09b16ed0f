using System.Buffers;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace Dynamo.Vllm.Protocol.Errors;

/// <summary>The JSON text in which an HTTP-like error travels as a message: <c>{"message":..,"code":400}</c>.</summary>
internal static class HttpErrorText
{
    private static readonly JsonWriterOptions Options = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    public static string Format(int status, string message)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer, Options))
        {
            json.WriteStartObject();
            json.WriteString("message"u8, message);
            json.WriteNumber("code"u8, status);
            json.WriteEndObject();
        }

        return Encoding.UTF8.GetString(buffer.WrittenSpan);
    }
}
