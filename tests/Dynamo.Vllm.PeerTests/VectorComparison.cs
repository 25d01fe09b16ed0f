using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Dynamo.Vllm.PeerTests;

/// <summary>Whether two answers say the same, where vectors may differ by what the batch they were computed in rounds.</summary>
internal static class VectorComparison
{
    private const double Tolerance = 1e-4;

    private static readonly HashSet<string> Vectors = ["embedding", "embeddings"];

    public static bool AreEqual(JsonNode? left, JsonNode? right) => AreEqual(left, right, isVector: false);

    private static bool AreEqual(JsonNode? left, JsonNode? right, bool isVector) =>
        (left, right) switch
        {
            (JsonObject one, JsonObject other) => one.Count == other.Count
                && one.All(pair => other.ContainsKey(pair.Key) && AreEqual(pair.Value, other[pair.Key], Vectors.Contains(pair.Key))),
            (JsonArray one, JsonArray other) => one.Count == other.Count
                && one.Zip(other).All(pair => AreEqual(pair.First, pair.Second, isVector)),
            (JsonValue one, JsonValue other) when isVector => AreClose(Floats(one), Floats(other)),
            _ => JsonNode.DeepEquals(left, right),
        };

    private static bool AreClose(double[] left, double[] right) =>
        left.Length == right.Length && left.Zip(right).All(pair => Math.Abs(pair.First - pair.Second) <= Tolerance);

    /// <summary>A number of a vector, or all of it in base64.</summary>
    private static double[] Floats(JsonValue value) =>
        value.GetValueKind() == JsonValueKind.String
            ? Array.ConvertAll(
                MemoryMarshal.Cast<byte, float>(Convert.FromBase64String(value.GetValue<string>())).ToArray(),
                number => (double)number
            )
            : [value.GetValue<double>()];
}
