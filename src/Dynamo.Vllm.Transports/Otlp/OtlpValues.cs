using System.Globalization;
using Dynamo.Vllm.Transports.Otlp.Wire;
using Google.Protobuf;

namespace Dynamo.Vllm.Transports.Otlp;

/// <summary>What spans and log records have in common.</summary>
internal static class OtlpValues
{
    public static Resource Resource(OtlpOptions options)
    {
        var resource = new Resource();
        resource.Attributes.AddRange(options.Resource.Select(pair => Attribute(pair.Key, pair.Value)));
        return resource;
    }

    public static KeyValue Attribute(string name, object value) =>
        new()
        {
            Key = name,
            Value = value switch
            {
                bool flag => new AnyValue { BoolValue = flag },
                int or long => new AnyValue { IntValue = Convert.ToInt64(value, CultureInfo.InvariantCulture) },
                double number => new AnyValue { DoubleValue = number },
                _ => new AnyValue { StringValue = Convert.ToString(value, CultureInfo.InvariantCulture) },
            },
        };

    public static ByteString Bytes(string hex) => ByteString.CopyFrom(Convert.FromHexString(hex));

    public static ulong Nanoseconds(DateTime time) => (ulong)(time - DateTime.UnixEpoch).Ticks * 100;
}
