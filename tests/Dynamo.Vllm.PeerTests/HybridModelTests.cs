using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PeerTests;

/// <summary>
/// A model with several cache groups: routers hear of the blocks of one of them alone, as from the official worker. The same of what a card
/// says when its worker speculates, stands somewhere and wants to be routed to in its own way; and of the end of both.
/// </summary>
[Trait("Category", "Peers")]
[TestCaseOrderer(DeclarationOrder.Type, DeclarationOrder.Assembly)]
public sealed class HybridModelTests : IClassFixture<HybridModelFixture>
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    private readonly HybridModelFixture _pair;

    public HybridModelTests(HybridModelFixture pair) => _pair = pair;

    [PeerFact]
    public void Our_card_equals_the_official_one_but_for_the_name_also_in_routing_topology_and_speculation()
    {
        var official = WithOrderedTaints(_pair.CardWithoutName(NamedPairFixture.OfficialName));
        Assert.Equal(
            CanonicalJson.Write(official),
            CanonicalJson.Write(WithOrderedTaints(_pair.CardWithoutName(NamedPairFixture.OurName)))
        );
        // What the flags and variables ask for is there at all.
        Assert.Equal(0.3, official["router_config"]!["kv_router_config"]!["router_temperature"]!.GetValue<double>());
        Assert.Equal(3, official["runtime_config"]!["runtime_data"]!["spec_decode"]!["nextn"]!.GetValue<int>());
        Assert.Equal("zone-a", official["runtime_config"]!["topology_domains"]!["zone"]!.GetValue<string>());

        // The official worker lists them as its file system lists the domains.
        static JsonObject WithOrderedTaints(JsonObject card)
        {
            var taints = card["runtime_config"]!["taints"]!.AsArray().Select(taint => taint!.GetValue<string>());
            card["runtime_config"]!["taints"] = new JsonArray([
                .. taints.Order(StringComparer.Ordinal).Select(taint => JsonValue.Create(taint)),
            ]);
            return card;
        }
    }

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
                one = await RecoveryEndpoint.BlocksAsync(_pair, NamedPairFixture.OurName);
                other = await RecoveryEndpoint.BlocksAsync(_pair, NamedPairFixture.OfficialName);
                return one == other && one.Length > 0;
            },
            () => $"ours     {one}\nofficial {other}"
        );
    }

    [PeerFact]
    public async Task What_is_guessed_right_costs_no_steps_and_the_tokens_stay_the_official_worker_s()
    {
        // Greedy answers of a small model repeat themselves, so most guesses from the text before are right.
        var question =
            """{"token_ids":[10,11,12,13],"sampling_options":{"temperature":0},"stop_conditions":{"max_tokens":200,"ignore_eos":true}}""";
        await using var ours = await DirectWorker.ConnectAsync(_pair.Addresses[NamedPairFixture.OurName]);
        await using var official = await DirectWorker.ConnectAsync(_pair.Addresses[NamedPairFixture.OfficialName]);
        var comparison = new AnswerComparison(ours, official);
        await comparison.ExpectEqualAsync([question]);
        comparison.AssertNone();
        foreach (var family in (string[])["vllm:spec_decode_num_draft_tokens_total", "vllm:spec_decode_num_accepted_tokens_total"])
        {
            var theirs = MetricSamples.Sum(await _pair.OfficialHttp.GetStringAsync("/metrics"), family);
            Assert.True(theirs > 0, $"{family} {theirs}");
            await Polling.UntilAsync($"{family} is not {theirs}", Limit, async () => await _pair.Ours.MetricAsync(family) == theirs);
        }
    }

    [PeerFact]
    public async Task A_second_signal_changes_nothing_of_a_stop_and_vLLM_is_shut_down_as_by_the_official_worker()
    {
        var question =
            """{"token_ids":[20,21,22,23],"sampling_options":{"temperature":1,"seed":7},"stop_conditions":{"max_tokens":40,"ignore_eos":true}}""";
        await using var ours = await DirectWorker.ConnectAsync(_pair.Addresses[NamedPairFixture.OurName]);
        await using var official = await DirectWorker.ConnectAsync(_pair.Addresses[NamedPairFixture.OfficialName]);
        var answers = (Ours: ours.AskAsync(question), Official: official.AskAsync(question));
        ChildProcess[] both = [_pair.Ours.Process, _pair.Official];
        await Task.WhenAll(StopTwiceAsync(both[0], "shutdown was asked for"), StopTwiceAsync(both[1], "Grace period"));

        var (one, other) = (await answers.Ours, await answers.Official);
        Assert.True(other?["complete"]?.GetValue<bool>(), $"{other}");
        Assert.Equal(CanonicalJson.Write(other), CanonicalJson.Write(one));
        foreach (var worker in both)
        {
            Assert.Equal(0, await worker.ExitCodeAsync(Limit));
            Assert.Contains(worker.Lines, line => line.Contains("[shutdown] MPClient: complete", StringComparison.Ordinal)); // vLLM's word
        }

        static async Task StopTwiceAsync(ChildProcess worker, string firstIsTaken)
        {
            worker.Signal("TERM");
            await worker.LineAsync(firstIsTaken, Limit); // and the grace period of 5 s runs
            worker.Signal("INT");
            worker.Signal("TERM");
        }
    }
}
