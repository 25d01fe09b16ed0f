using System.Globalization;
using System.Text;
using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.Protocol.Requests;

/// <summary>Typed reading of request fields with errors that name the field, the value and the limit.</summary>
internal static class RequestValues
{
    private static readonly UTF8Encoding StrictUtf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    public static int Int32(ref MessagePackReader reader, string field)
    {
        var value = Int64(ref reader, field);
        return value is >= int.MinValue and <= int.MaxValue
            ? (int)value
            : throw new ProtocolException($"{field} is {value}, outside the limits {int.MinValue} to {int.MaxValue}");
    }

    public static long Int64(ref MessagePackReader reader, string field)
    {
        switch (reader.PeekType())
        {
            case MessagePackType.Integer:
                var probe = reader;
                try
                {
                    return reader.ReadInt64();
                }
                catch (ProtocolException)
                {
                    reader = probe;
                    throw new ProtocolException($"{field} is {reader.ReadUInt64()}, above the limit {long.MaxValue}");
                }

            case MessagePackType.Float:
                var number = reader.ReadDouble();
                return Math.Floor(number) == number && Math.Abs(number) <= 9007199254740992.0
                    ? (long)number
                    : throw new ProtocolException($"{field} is {Number(number)}, which is not an integer");
            default:
                throw Wrong(ref reader, field, "an integer");
        }
    }

    /// <summary>A number that JSON can carry: infinity and not-a-number mean
    /// nothing to a sampler, and the way to the engine is JSON.</summary>
    public static double FiniteDouble(ref MessagePackReader reader, string field)
    {
        var value = reader.PeekType() is MessagePackType.Float or MessagePackType.Integer
            ? reader.ReadDouble()
            : throw Wrong(ref reader, field, "a number");
        return double.IsFinite(value) ? value : throw new ProtocolException($"{field} is {Number(value)}, must be a finite number");
    }

    /// <summary>Text that has a Unicode form. A decoder would put a replacement character in the place of what has none.</summary>
    public static string Text(ref MessagePackReader reader, string field)
    {
        if (reader.PeekType() != MessagePackType.String)
        {
            throw Wrong(ref reader, field, "a string");
        }

        try
        {
            return StrictUtf8.GetString(reader.ReadStringBytes());
        }
        catch (DecoderFallbackException exception)
        {
            throw new ProtocolException($"{field} holds text that is not valid UTF-8", exception);
        }
    }

    public static bool Boolean(ref MessagePackReader reader, string field) =>
        reader.PeekType() == MessagePackType.Boolean ? reader.ReadBoolean() : throw Wrong(ref reader, field, "a boolean");

    /// <summary>Token ids as 32-bit integers, the only form that the engine process survives.</summary>
    public static int[] TokenIds(ref MessagePackReader reader, string field)
    {
        var ids = new int[ArrayHeader(ref reader, field)];
        for (var i = 0; i < ids.Length; i++)
        {
            if (reader.PeekType() != MessagePackType.Integer)
            {
                throw Wrong(ref reader, $"{field}[{i}]", "an integer token id");
            }

            var id = reader.ReadInt64();
            ids[i] = id is >= int.MinValue and <= int.MaxValue
                ? (int)id
                : throw new ProtocolException($"{field}[{i}] is {id}, above the limit {int.MaxValue}");
        }

        return ids;
    }

    /// <summary>
    /// A count of logprobs: a non-negative number, whose fraction is cut off, or the text of an integer, or true for 1, as Python's
    /// <c>int()</c> reads them; <see cref="PreprocessedRequest.FullVocabulary"/> becomes -1. Anything else is ignored, as in the reference.
    /// </summary>
    public static int? LogprobCount(ref MessagePackReader reader)
    {
        long value;
        switch (reader.PeekType())
        {
            case MessagePackType.Integer:
                value = Int64(ref reader, "output_options.logprobs");
                break;
            case MessagePackType.Float:
                var number = Math.Truncate(reader.ReadDouble());
                value = number is >= 0 and <= PreprocessedRequest.FullVocabulary ? (long)number : -1;
                break;
            case MessagePackType.Boolean:
                value = reader.ReadBoolean() ? 1 : 0;
                break;
            case MessagePackType.String when long.TryParse(reader.ReadString(), CultureInfo.InvariantCulture, out value):
                break;
            case MessagePackType.String:
                return null;
            default:
                reader.Skip();
                return null;
        }

        return value switch
        {
            PreprocessedRequest.FullVocabulary => -1,
            >= 0 and <= int.MaxValue => (int)value,
            _ => null,
        };
    }

    /// <summary>As Python's <c>bool()</c> takes a value of any type; the reader is behind it afterwards.</summary>
    public static bool IsTrue(ref MessagePackReader reader)
    {
        var value = reader;
        reader.Skip();
        return value.PeekType() switch
        {
            MessagePackType.Nil => false,
            MessagePackType.Boolean => value.ReadBoolean(),
            MessagePackType.Integer => value.ReadHashBits() != 0,
            MessagePackType.Float => value.ReadDouble() != 0,
            MessagePackType.String => value.ReadStringBytes().Length > 0,
            MessagePackType.Array => value.ReadArrayHeader() > 0,
            MessagePackType.Map => value.ReadMapHeader() > 0,
            _ => true,
        };
    }

    public static int MapHeader(ref MessagePackReader reader, string field) =>
        reader.PeekType() == MessagePackType.Map ? reader.ReadMapHeader() : throw Wrong(ref reader, field, "an object");

    public static int ArrayHeader(ref MessagePackReader reader, string field) =>
        reader.PeekType() == MessagePackType.Array ? reader.ReadArrayHeader() : throw Wrong(ref reader, field, "an array");

    /// <summary>An object, as JSON.</summary>
    public static ReadOnlyMemory<byte> JsonMap(ref MessagePackReader reader, string field) =>
        reader.PeekType() == MessagePackType.Map
            ? MessagePackJson.ReadAsJson(ref reader, field)
            : throw Wrong(ref reader, field, "an object");

    public static ProtocolException Wrong(ref MessagePackReader reader, string field, string wanted)
    {
        // The value itself may be prompt content, so only its kind is named, except for numbers and booleans.
        var type = reader.PeekType();
        var shown = type switch
        {
            MessagePackType.Float => Number(reader.ReadDouble()),
            MessagePackType.Boolean => reader.ReadBoolean() ? "true" : "false",
            MessagePackType.Nil => "null",
            _ => $"of type {type}",
        };
        return new ProtocolException($"{field} is {shown}, must be {wanted}");
    }

    private static string Number(double value) => value.ToString(CultureInfo.InvariantCulture);
}
