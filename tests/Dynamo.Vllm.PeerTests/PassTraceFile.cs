using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PeerTests;

/// <summary>Trace files of forward passes.</summary>
internal static class PassTraceFile
{
    /// <summary>Every line of every file in the folder.</summary>
    public static IReadOnlyList<JsonObject> Read(string folder) =>
        Directory.Exists(folder)
            ?
            [
                .. Directory
                    .GetFiles(folder, "*.jsonl.gz")
                    .Order(StringComparer.Ordinal)
                    .SelectMany(GzipLines.Read)
                    .Select(line => JsonNode.Parse(line)!.AsObject()),
            ]
            : [];

    public static long Counter(JsonObject line) => line["event"]!["fpm"]!["counter_id"]!.GetValue<long>();

    /// <summary>Without what differs by time and by who wrote it, members in one order.</summary>
    public static string Comparable(JsonObject line)
    {
        var copy = line.DeepClone();
        Assert.True(copy["timestamp"]!.GetValue<long>() >= 0);
        Assert.True(copy["event"]!["observed_at_unix_ms"]!.GetValue<long>() > 1_700_000_000_000);
        Assert.True(ulong.TryParse(copy["event"]!["source"]!["producer_id"]!.GetValue<string>(), out _));
        copy["timestamp"] = 0;
        copy["event"]!["observed_at_unix_ms"] = 0;
        copy["event"]!["source"]!["producer_id"] = "";
        return CanonicalJson.Write(copy);
    }
}
