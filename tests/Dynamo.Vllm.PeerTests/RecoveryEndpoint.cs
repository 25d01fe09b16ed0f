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
    /// A line for each block: what it follows, its hash, and that of its tokens. In how many events a chain comes is free, and what media
    /// are in a block is not in the official worker's index, which knows them by the hash of the tokens alone.
    /// </summary>
    public static async Task<string> BlocksAsync(NamedPairFixture pair, string name) =>
        string.Join('\n', (await ReadAsync(pair, name)).Select(block => $"{block.Parent} {block.Hash} {block.Tokens}").Order());

    /// <summary>The same by tokens alone, as a router looks for them: blocks that differ in their own hash alone are one there.</summary>
    public static async Task<string> PathsAsync(NamedPairFixture pair, string name)
    {
        var blocks = await ReadAsync(pair, name);
        var tokens = blocks.ToDictionary(block => block.Hash, block => block.Tokens);
        return string.Join('\n', blocks.Select(block => $"{tokens.GetValueOrDefault(block.Parent)} {block.Tokens}").Distinct().Order());
    }

    private static async Task<IReadOnlySet<(string Parent, string Hash, string Tokens)>> ReadAsync(NamedPairFixture pair, string name)
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
        var blocks = new HashSet<(string, string, string)>();
        await foreach (var item in call.ReadAsync(limit.Token))
        {
            foreach (var relayed in Find(item, "TreeDump")!["events"]!.AsArray())
            {
                Assert.Equal(instance, relayed!["worker_id"]!.GetValue<ulong>());
                AddChain(blocks, relayed["event"]!["data"]!["stored"]!);
            }
        }

        return blocks;
    }

    private static void AddChain(HashSet<(string, string, string)> blocks, JsonNode stored)
    {
        var parent = stored["parent_hash"]?.ToJsonString() ?? "none";
        foreach (var block in stored["blocks"]!.AsArray())
        {
            var hash = block!["block_hash"]!.ToJsonString();
            blocks.Add((parent, hash, block["tokens_hash"]!.ToJsonString()));
            parent = hash;
        }
    }

    private static JsonNode? Find(JsonNode? node, string key) =>
        node is not JsonObject map ? null
        : map[key] is { } found ? found
        : map.Select(pair => Find(pair.Value, key)).FirstOrDefault(part => part is not null);
}
