using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Transports.Client;

namespace Dynamo.Vllm.PeerTests;

/// <summary>What routers are told of the blocks that a worker has.</summary>
internal static class RecoveryEndpoint
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    /// <summary>
    /// A line for each block: what it follows, its hashes, and the media in it. In how many events a chain comes is free.
    /// </summary>
    public static async Task<string> BlocksAsync(NamedPairFixture pair, string name)
    {
        var instance = Convert.ToUInt64(pair.Addresses[name].Split('/')[1], 16);
        var address = Directory
            .GetFiles(pair.Store, "*", SearchOption.AllDirectories)
            .Where(path => path.Contains("/v1/", StringComparison.Ordinal))
            .Select(File.ReadAllText)
            .Where(text => text.Contains("recovery_target", StringComparison.Ordinal))
            .Select(text => Find(JsonNode.Parse(text)!, "recovery_target")!)
            .Single(target => target["instance_id"]!.GetValue<ulong>() == instance)["transport"]!["tcp"]!.GetValue<string>();
        var query = $"{{\"worker_id\":{instance},\"dp_rank\":0,\"kind\":\"recovery\",\"supports_tree_dump_failed\":true}}";
        using var limit = new CancellationTokenSource(Limit);
        await using var client = await WorkerClient.ConnectAsync(address, PayloadCodec.MessagePack, limit.Token);
        await using var call = await client.CallAsync(Encoding.UTF8.GetBytes(query), limit.Token);
        var lines = new SortedSet<string>(StringComparer.Ordinal);
        await foreach (var item in call.ReadAsync(limit.Token))
        {
            foreach (var relayed in Find(item, "TreeDump")!["events"]!.AsArray())
            {
                Assert.Equal(instance, relayed!["worker_id"]!.GetValue<ulong>());
                AddChain(lines, relayed["event"]!["data"]!["stored"]!);
            }
        }

        return string.Join('\n', lines);
    }

    private static void AddChain(SortedSet<string> lines, JsonNode stored)
    {
        var parent = stored["parent_hash"]?.ToJsonString() ?? "none";
        foreach (var block in stored["blocks"]!.AsArray())
        {
            lines.Add($"{parent} {CanonicalJson.Write(block)}");
            parent = block!["block_hash"]!.ToJsonString();
        }
    }

    private static JsonNode? Find(JsonNode? node, string key) =>
        node is not JsonObject map ? null
        : map[key] is { } found ? found
        : map.Select(pair => Find(pair.Value, key)).FirstOrDefault(part => part is not null);
}
