using System.Buffers;
using System.Globalization;
using System.Text.Json;
using System.Text.Unicode;

namespace Dynamo.Vllm.Protocol.MessagePack;

/// <summary>Translates between the two body codecs, so that each message has one parser and one encoder.</summary>
/// <remarks>
/// MessagePack is the codec that this worker advertises; JSON is what peers use that never saw the advertisement.
/// Non-finite floats become null in JSON, as serde_json writes them. Binary becomes an array of byte values, likewise.
/// </remarks>
public static class MessagePackJson
{
    /// <summary>The next value as compact JSON text in UTF-8.</summary>
    /// <param name="reader">Stands before the value.</param>
    /// <param name="field">Name of the value in errors.</param>
    /// <exception cref="ProtocolException">The value holds text that is not UTF-8, or is nested too deep.</exception>
    public static byte[] ReadAsJson(ref MessagePackReader reader, string field = "value")
    {
        var buffer = new ArrayBufferWriter<byte>();
        try
        {
            using var json = new Utf8JsonWriter(
                buffer,
                new JsonWriterOptions { MaxDepth = Limits.NestingDepthMax + 1, SkipValidation = true }
            );
            WriteJson(ref reader, json, depth: 0);
        }
        catch (UnfitValueException exception)
        {
            throw new ProtocolException($"{field} {exception.Message}", exception);
        }

        return buffer.WrittenSpan.ToArray();
    }

    /// <summary>One whole MessagePack value as JSON into <paramref name="output"/>.</summary>
    /// <param name="messagePack">The value.</param>
    /// <param name="output">Where to.</param>
    /// <param name="marksFloats">A float that is a whole number gets a fraction, as serde_json writes it.</param>
    public static void Transcode(ReadOnlySpan<byte> messagePack, IBufferWriter<byte> output, bool marksFloats = false)
    {
        var reader = new MessagePackReader(messagePack);
        using var json = new Utf8JsonWriter(output, new JsonWriterOptions { MaxDepth = Limits.NestingDepthMax + 1, SkipValidation = true });
        try
        {
            WriteJson(ref reader, json, depth: 0, marksFloats);
        }
        catch (UnfitValueException exception)
        {
            throw new ProtocolException($"value {exception.Message}", exception);
        }
    }

    /// <summary>One whole JSON value as MessagePack into <paramref name="output"/>.</summary>
    public static void WriteMessagePack(ReadOnlySpan<byte> utf8Json, IBufferWriter<byte> output)
    {
        try
        {
            var json = new Utf8JsonReader(utf8Json, new JsonReaderOptions { MaxDepth = Limits.NestingDepthMax });
            using var document = JsonDocument.ParseValue(ref json);
            WriteText(document.RootElement, new MessagePackWriter(output));
        }
        catch (JsonException exception)
        {
            throw new ProtocolException($"body is not JSON: {exception.Message}", exception);
        }
    }

    private static void WriteText(JsonElement root, MessagePackWriter writer)
    {
        try
        {
            WriteMessagePack(root, writer);
        }
        catch (InvalidOperationException exception)
        {
            // The reader takes bytes that are no UTF-8, and halves of surrogate pairs behind \u, until somebody wants the text.
            throw new ProtocolException($"{UnreadableText.Find(root) ?? "body"} holds text that is not valid Unicode", exception);
        }
    }

    /// <summary>Writes <paramref name="element"/> and all it contains.</summary>
    public static void WriteMessagePack(JsonElement element, MessagePackWriter writer)
    {
        switch (element.ValueKind)
        {
            case JsonValueKind.Object:
                writer.WriteMapHeader(element.GetPropertyCount());
                foreach (var property in element.EnumerateObject())
                {
                    writer.WriteString(property.Name);
                    WriteMessagePack(property.Value, writer);
                }

                break;
            case JsonValueKind.Array:
                writer.WriteArrayHeader(element.GetArrayLength());
                foreach (var item in element.EnumerateArray())
                {
                    WriteMessagePack(item, writer);
                }

                break;
            case JsonValueKind.String:
                writer.WriteString(element.GetString()!);
                break;
            case JsonValueKind.Number when element.TryGetInt64(out var integer):
                writer.WriteInteger(integer);
                break;
            case JsonValueKind.Number when element.TryGetUInt64(out var unsigned):
                writer.WriteInteger(unsigned);
                break;
            case JsonValueKind.Number:
                writer.WriteDouble(element.GetDouble());
                break;
            case JsonValueKind.True or JsonValueKind.False:
                writer.WriteBoolean(element.GetBoolean());
                break;
            default:
                writer.WriteNil();
                break;
        }
    }

    private static void WriteJson(ref MessagePackReader reader, Utf8JsonWriter json, int depth, bool marksFloats = false)
    {
        if (depth > Limits.NestingDepthMax)
        {
            throw new UnfitValueException($"is nested deeper than the limit {Limits.NestingDepthMax}");
        }

        switch (reader.PeekType())
        {
            case MessagePackType.Map:
                WriteJsonObject(ref reader, json, depth, marksFloats);
                break;
            case MessagePackType.Array:
                json.WriteStartArray();
                for (var left = reader.ReadArrayHeader(); left > 0; left--)
                {
                    WriteJson(ref reader, json, depth + 1, marksFloats);
                }

                json.WriteEndArray();
                break;
            case MessagePackType.String:
                json.WriteStringValue(ReadText(ref reader));
                break;
            case MessagePackType.Integer:
                WriteJsonInteger(ref reader, json);
                break;
            case MessagePackType.Float:
                WriteJsonFloat(reader.ReadDouble(), json, marksFloats);
                break;
            case MessagePackType.Boolean:
                json.WriteBooleanValue(reader.ReadBoolean());
                break;
            case MessagePackType.Binary:
                json.WriteStartArray();
                foreach (var octet in reader.ReadBinary())
                {
                    json.WriteNumberValue(octet);
                }

                json.WriteEndArray();
                break;
            case MessagePackType.Extension:
                throw new UnfitValueException("holds a MessagePack extension, which is not part of this protocol");
            default:
                reader.Skip();
                json.WriteNullValue();
                break;
        }
    }

    private static void WriteJsonObject(ref MessagePackReader reader, Utf8JsonWriter json, int depth, bool marksFloats)
    {
        json.WriteStartObject();
        for (var left = reader.ReadMapHeader(); left > 0; left--)
        {
            // Maps with integer keys occur inside opaque values only; JSON wants text there.
            if (reader.PeekType() == MessagePackType.Integer)
            {
                json.WritePropertyName(reader.ReadInt64().ToString(CultureInfo.InvariantCulture));
            }
            else
            {
                json.WritePropertyName(ReadText(ref reader));
            }

            WriteJson(ref reader, json, depth + 1, marksFloats);
        }

        json.WriteEndObject();
    }

    /// <summary>The writer would put replacement characters in the place of what is not UTF-8.</summary>
    private static ReadOnlySpan<byte> ReadText(ref MessagePackReader reader)
    {
        var text = reader.ReadStringBytes();
        return Utf8.IsValid(text) ? text : throw new UnfitValueException("holds text that is not valid UTF-8");
    }

    private static void WriteJsonInteger(ref MessagePackReader reader, Utf8JsonWriter json)
    {
        var probe = reader;
        try
        {
            json.WriteNumberValue(reader.ReadInt64());
        }
        catch (ProtocolException)
        {
            // Above 2^63: instance ids and hashes are unsigned 64-bit numbers.
            reader = probe;
            json.WriteNumberValue(reader.ReadUInt64());
        }
    }

    private static void WriteJsonFloat(double value, Utf8JsonWriter json, bool marksFloats)
    {
        if (marksFloats && double.IsInteger(value) && Math.Abs(value) < 1e15)
        {
            json.WriteRawValue(value.ToString("F1", CultureInfo.InvariantCulture));
        }
        else if (double.IsFinite(value))
        {
            json.WriteNumberValue(value);
        }
        else
        {
            json.WriteNullValue();
        }
    }

    /// <summary>What is wrong with a value, as the rest of a sentence that begins with the value's name.</summary>
    private sealed class UnfitValueException(string message) : Exception(message);
}
