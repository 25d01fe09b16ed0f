using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol.KvEvents;

namespace Dynamo.Vllm.UnitTests.Protocol.KvEvents;

using Dynamo.Vllm.Testing;

/// <summary>The events that the reference had published before the recovery queries were captured.</summary>
/// <remarks>tests/golden/kv/kv-query-official.json.</remarks>
internal static class RecoveryHistory
{
    /// <summary>Router events from the captured answer to "everything from 1", one list each.</summary>
    public static IEnumerable<RouterEventList> Events()
    {
        var answer = JsonNode
            .Parse(Golden.Text("kv/kv-query-official.json"))!
            .AsArray()
            .Single(item => item!["case"]!.GetValue<string>() == "from_1")!;
        foreach (var item in answer["frames"]![2]!["data"]!["data"]!["Events"]!["events"]!.AsArray())
        {
            yield return Build(item!);
        }
    }

    private static RouterEventList Build(JsonNode item)
    {
        var events = new RouterEventList();
        var tier = item["storage_tier"]!.GetValue<string>() == "device" ? StorageTier.Device : StorageTier.HostPinned;
        var data = item["event"]!["data"]!;
        if (data["removed"] is { } removed)
        {
            foreach (var hash in removed["block_hashes"]!.AsArray())
            {
                events.AddBlock(new KvBlock(new BlockHash(hash!.GetValue<ulong>()), default, null));
            }

            events.AddEvent(RouterEventKind.Removed, tier, null, default, default, 0);
            return events;
        }

        var stored = data["stored"]!;
        foreach (var block in stored["blocks"]!.AsArray())
        {
            events.AddBlock(
                new KvBlock(
                    new BlockHash(block!["block_hash"]!.GetValue<ulong>()),
                    new TokensHash(block["tokens_hash"]!.GetValue<ulong>()),
                    null
                )
            );
        }

        BlockHash? parent = stored["parent_hash"] is { } hash2 ? new BlockHash(hash2.GetValue<ulong>()) : null;
        events.AddEvent(RouterEventKind.Stored, tier, parent, default, default, 0);
        return events;
    }
}
