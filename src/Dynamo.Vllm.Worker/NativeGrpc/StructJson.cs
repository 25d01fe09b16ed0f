using System.Buffers;
using System.Text;
using System.Text.Json;
using Dynamo.Vllm.Worker.GrpcRequests;
using Google.Protobuf.WellKnownTypes;

namespace Dynamo.Vllm.Worker.NativeGrpc;

/// <summary>Objects of any shape as JSON and back.</summary>
internal static class StructJson
{
    /// <summary>Above it a double is no longer every whole number.</summary>
    private const double WholeMax = 1L << 53;

    /// <summary>Numbers that are whole become integers again, which connectors insist on: the contract knows doubles alone.</summary>
    /// <param name="field">For the refusal.</param>
    /// <param name="value">Not nested deeper than its decoder allows.</param>
    /// <exception cref="Protocol.Errors.RequestFailedException">A number is none that JSON has.</exception>
    public static ReadOnlyMemory<byte> Write(string field, Struct value)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer))
        {
            Write(json, field, value);
        }

        return buffer.WrittenMemory;
    }

    /// <summary>Null for what is no object.</summary>
    public static Struct? Read(ReadOnlyMemory<byte>? json) =>
        json is { } text && text.Span is [(byte)'{', ..] ? Struct.Parser.ParseJson(Encoding.UTF8.GetString(text.Span)) : null;

    private static void Write(Utf8JsonWriter json, string field, Struct value)
    {
        json.WriteStartObject();
        foreach (var (name, member) in value.Fields)
        {
            json.WritePropertyName(name);
            Write(json, field, member);
        }

        json.WriteEndObject();
    }

    private static void Write(Utf8JsonWriter json, string field, Value value)
    {
        switch (value.KindCase)
        {
            case Value.KindOneofCase.NumberValue:
                WriteNumber(json, field, value.NumberValue);
                break;
            case Value.KindOneofCase.StringValue:
                json.WriteStringValue(value.StringValue);
                break;
            case Value.KindOneofCase.BoolValue:
                json.WriteBooleanValue(value.BoolValue);
                break;
            case Value.KindOneofCase.StructValue:
                Write(json, field, value.StructValue);
                break;
            case Value.KindOneofCase.ListValue:
                json.WriteStartArray();
                foreach (var item in value.ListValue.Values)
                {
                    Write(json, field, item);
                }

                json.WriteEndArray();
                break;
            default:
                json.WriteNullValue();
                break;
        }
    }

    private static void WriteNumber(Utf8JsonWriter json, string field, double number)
    {
        if (!double.IsFinite(number))
        {
            throw Numbers.Refused($"{field}: a number must be finite");
        }

        if (Math.Abs(number) <= WholeMax && number == Math.Floor(number))
        {
            json.WriteNumberValue((long)number);
        }
        else
        {
            json.WriteNumberValue(number);
        }
    }
}
