using System.Text.Json.Nodes;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Models.Cards;

namespace Dynamo.Vllm.UnitTests.Worker.Models;

public sealed class KvHintCapabilityTests
{
    [Theory]
    [InlineData("null")]
    [InlineData("{}")]
    [InlineData("""{"secondary_tiers":{}}""")]
    [InlineData("""{"secondary_tiers":[5,{},{"router_capabilities":"router_hint"},{"router_capabilities":["other"]}]}""")]
    public void A_card_says_nothing_of_tiers_that_take_no_hints(string connector) => Assert.Empty(Card(connector));

    [Theory]
    [InlineData("10.0.0.1", "10.0.0.1")]
    [InlineData("worker-3", "worker-3")]
    [InlineData("fd00:0::2", "[fd00::2]")]
    public void A_tier_that_takes_hints_is_told_of_with_a_port_for_each_rank(string host, string written)
    {
        var card = Card(
            Tier($"\"control_advertise_host\":\"{host}\",\"control_ports\":[5001,\" 5002\"]"),
            "decode",
            firstRank: 2,
            ranks: 2
        );
        Assert.Equal(
            $"{{\"router_hint_source_control_endpoints\":{{\"2\":\"tcp://{written}:5001\",\"3\":\"tcp://{written}:5002\"}},"
                + "\"router_hint_worker_type\":\"decode\",\"router_hint\":true}",
            card.ToJsonString()
        );
    }

    [Theory]
    [InlineData("\"control_advertise_host\":\"h\"", "P2P KV transfer hint support requires control_ports to be a list")]
    [InlineData(
        "\"control_advertise_host\":\"h\",\"control_ports\":[1,2]",
        "P2P KV transfer hint support requires control_ports to contain exactly 1 entries for the worker-local DP ranks; got 2"
    )]
    [InlineData("\"control_advertise_host\":\"0.0.0.0\",\"control_ports\":[1]", NotReachable)]
    [InlineData("\"control_advertise_host\":\"::\",\"control_ports\":[1]", NotReachable)]
    [InlineData("\"control_ports\":[1]", NotReachable)]
    [InlineData("\"control_advertise_host\":\"h\",\"control_ports\":[0]", NotReachable)]
    [InlineData("\"control_advertise_host\":\"h\",\"control_ports\":[65536]", NotReachable)]
    [InlineData("\"control_advertise_host\":\"h\",\"control_ports\":[true]", NotReachable)]
    [InlineData("\"control_advertise_host\":\"h\",\"control_ports\":[1.5]", NotReachable)]
    public void A_tier_that_nobody_could_reach_ends_the_start(string members, string problem) =>
        Assert.Equal(problem, Assert.Throws<ConfigurationException>(() => Card(Tier(members))).Message);

    [Fact]
    public void Two_tiers_cannot_be_told_apart_by_a_hint()
    {
        const string tier = "{\"router_capabilities\":[\"router_hint\"]}";
        var failure = Assert.Throws<ConfigurationException>(() => Card($"{{\"secondary_tiers\":[{tier},{tier}]}}"));
        Assert.EndsWith("found multiple tiers advertising router_hint", failure.Message, StringComparison.Ordinal);
    }

    private const string NotReachable =
        "P2P KV transfer hint support requires advertisable source control endpoints for all managed DP ranks";

    private static string Tier(string members) => $"{{\"secondary_tiers\":[{{\"router_capabilities\":[\"router_hint\"],{members}}}]}}";

    private static JsonObject Card(
        string connector,
        string role = "aggregated",
        int firstRank = 0,
        int ranks = 1,
        bool publishesSources = true
    )
    {
        var data = new JsonObject();
        KvHintCapability.AddTo(data, JsonNode.Parse(connector)?.AsObject(), role, firstRank, ranks, publishesSources);
        return data;
    }
}
