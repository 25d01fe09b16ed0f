using System.Text.Json.Nodes;
using Dynamo.Vllm.Transports.Zmq;

namespace Dynamo.Vllm.UnitTests.Transports;

public sealed class ZmqBrokerAddressesTests
{
    [Fact]
    public void Every_broker_of_the_namespace_is_used_once()
    {
        var found = ZmqBrokerAddresses.FromChannels([
            Broker("""["tcp://a:1","tcp://b:1"]""", """["tcp://a:2","tcp://b:2"]"""),
            Broker("""["tcp://c:1","tcp://a:1"]""", """["tcp://c:2"]"""),
        ]);
        Assert.Equal(["tcp://a:1", "tcp://b:1", "tcp://c:1"], found!.Publish);
        Assert.Equal(["tcp://a:2", "tcp://b:2", "tcp://c:2"], found.Subscribe);
    }

    [Theory]
    [InlineData("""{"kind":"Zmq","config":{"endpoint":"tcp://a:1"}}""")]
    [InlineData("""{"kind":"Nats","config":{"subject_prefix":"x"}}""")]
    [InlineData("""{"kind":"ZmqBroker","config":{"xsub_endpoints":[],"xpub_endpoints":["tcp://a:2"]}}""")]
    [InlineData("""{"kind":"ZmqBroker","config":{"xsub_endpoints":[7,null,{}]}}""")]
    [InlineData("""{"kind":"ZmqBroker","config":{"xsub_endpoints":"tcp://a:1"}}""")]
    [InlineData("""{"kind":"ZmqBroker"}""")]
    [InlineData("""{"kind":5}""")]
    [InlineData("7")]
    public void Channels_that_name_no_broker_are_passed_over(string transport)
    {
        Assert.Null(ZmqBrokerAddresses.FromChannels([Channel(transport)]));
        var found = ZmqBrokerAddresses.FromChannels([Channel(transport), Broker("""["tcp://a:1"]""", """["tcp://a:2"]""")]);
        Assert.Equal(["tcp://a:1"], found!.Publish);
    }

    [Fact]
    public void Brokers_are_looked_for_in_their_component_of_the_namespace() =>
        Assert.Equal("namespace/my%2Ens/component/zmq_broker/", ZmqBrokerAddresses.KeyPrefix("my.ns"));

    private static JsonObject Broker(string publish, string subscribe) =>
        Channel($$"""{"kind":"ZmqBroker","config":{"xsub_endpoints":{{publish}},"xpub_endpoints":{{subscribe}} } }""");

    private static JsonObject Channel(string transport) =>
        new()
        {
            ["type"] = "EventChannel",
            ["scope"] = new JsonObject
            {
                ["kind"] = "component",
                ["namespace"] = "ns",
                ["component"] = "zmq_broker",
            },
            ["topic"] = "broker",
            ["instance_id"] = 7,
            ["transport"] = JsonNode.Parse(transport),
        };
}
