using System.Globalization;
using Dynamo.Vllm.Protocol.Errors;
using Google.Protobuf.Collections;

namespace Dynamo.Vllm.Worker.GrpcRequests;

/// <summary>Numbers of a request as the engine takes them. What it cannot take is refused by name.</summary>
internal static class Numbers
{
    public static int Int32(string field, uint value) =>
        value <= int.MaxValue ? (int)value : throw Refused($"{field} must be at most {int.MaxValue}, got {value}");

    /// <summary>Null for 0, which is how the contract writes that nothing was said.</summary>
    public static int? Given(string field, uint value) => value == 0 ? null : Int32(field, value);

    public static int[] Tokens(string field, RepeatedField<uint> ids)
    {
        var tokens = new int[ids.Count];
        for (var i = 0; i < tokens.Length; i++)
        {
            tokens[i] = Int32(field, ids[i]);
        }

        return tokens;
    }

    /// <summary>The decimal number that was meant, which a wider type would show with the error of the narrow one.</summary>
    public static double Double(string field, float value) =>
        float.IsFinite(value)
            ? double.Parse(value.ToString("R", CultureInfo.InvariantCulture), CultureInfo.InvariantCulture)
            : throw Refused($"{field} must be a finite number, got {value.ToString(CultureInfo.InvariantCulture)}");

    public static double? Given(string field, float value) => value == 0 ? null : Double(field, value);

    public static RequestFailedException Refused(string text) => new(DynamoError.InvalidArgument(text));
}
