using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Transports.Client;

namespace Dynamo.Vllm.PeerTests;

/// <summary>A model with several cache groups: routers hear of the blocks of one of them alone, as from the official worker.</summary>
[Trait("Category", "Peers")]
public sealed class HybridModelTests : IClassFixture<HybridModelFixture>
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    private readonly HybridModelFixture _pair;

    public HybridModelTests(HybridModelFixture pair) => _pair = pair;

    [PeerFact]
    public void Our_card_equals_the_official_one_but_for_the_name() =>
        Assert.Equal(
            CanonicalJson.Write(_pair.CardWithoutName(NamedPairFixture.OfficialName)),
            CanonicalJson.Write(_pair.CardWithoutName(NamedPairFixture.OurName))
        );

    [PeerFact]
    public async Task The_recovery_endpoint_knows_the_blocks_that_the_official_one_knows()
    {
        var prompt = string.Join(',', Enumerable.Range(10, 200));
        var question = $"{{\"token_ids\":[{prompt}],\"sampling_options\":{{\"temperature\":0}},\"stop_conditions\":{{\"max_tokens\":80}}}}";
        await using var ours = await DirectWorker.ConnectAsync(_pair.Addresses[NamedPairFixture.OurName]);
        await using var official = await DirectWorker.ConnectAsync(_pair.Addresses[NamedPairFixture.OfficialName]);
        var comparison = new AnswerComparison(ours, official);
        await comparison.ExpectEqualAsync([question, question]);
        comparison.AssertNone();

        var (one, other) = ("", "");
        await Polling.UntilAsync(
            "the recovery endpoints differ",
            Limit,
            async () =>
            {
                one = await KnownAsync(NamedPairFixture.OurName);
                other = await KnownAsync(NamedPairFixture.OfficialName);
                return one == other && one.Contains("block_hash", StringComparison.Ordinal);
            },
            () => $"ours     {one}\nofficial {other}"
        );
    }

    /// <summary>All that the recovery endpoint tells, without the worker's id.</summary>
    private async Task<string> KnownAsync(string name)
    {
        var instance = Convert.ToUInt64(_pair.Addresses[name].Split('/')[1], 16);
        var address = Directory
            .GetFiles(_pair.Store, "*", SearchOption.AllDirectories)
            .Select(File.ReadAllText)
            .Where(text => text.Contains("recovery_target", StringComparison.Ordinal))
            .Select(text => JsonNode.Parse(text)!)
            .Select(record => Find(record, "recovery_target")!)
            .Single(target => target["instance_id"]!.GetValue<ulong>() == instance)["transport"]!["tcp"]!.GetValue<string>();
        using var limit = new CancellationTokenSource(Limit);
        await using var client = await WorkerClient.ConnectAsync(address, PayloadCodec.MessagePack, limit.Token);
        var query = $"{{\"worker_id\":{instance},\"dp_rank\":0,\"kind\":\"recovery\",\"supports_tree_dump_failed\":true}}";
        await using var call = await client.CallAsync(Encoding.UTF8.GetBytes(query), limit.Token);
        var known = new StringBuilder();
        await foreach (var item in call.ReadAsync(limit.Token))
        {
            known.AppendLine(CanonicalJson.Write(item));
        }

        return known.ToString().Replace(instance.ToString(CultureInfo.InvariantCulture), "...", StringComparison.Ordinal);
    }

    private static JsonNode? Find(JsonNode? node, string key) =>
        node is not JsonObject map ? null
        : map[key] is { } found ? found
        : map.Select(pair => Find(pair.Value, key)).FirstOrDefault(part => part is not null);
}
