using System.Text.Json.Nodes;

namespace Dynamo.Vllm.PeerTests;

/// <summary>JSON to compare by: keys in order, and addresses without the host and port that differ between two workers.</summary>
internal static class CanonicalJson
{
    public static string Write(JsonNode? node) =>
        node switch
        {
            JsonObject map => "{"
                + string.Join(
                    ',',
                    map.OrderBy(pair => pair.Key, StringComparer.Ordinal).Select(pair => $"\"{pair.Key}\":{Write(pair.Value)}")
                )
                + "}",
            JsonArray list => "[" + string.Join(',', list.Select(Write)) + "]",
            JsonValue value when value.TryGetValue<string>(out var text) && text.StartsWith("http://", StringComparison.Ordinal) => new Uri(
                text
            ).AbsolutePath,
            null => "null",
            _ => node.ToJsonString(),
        };
}
