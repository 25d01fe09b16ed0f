using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Protocol.KvEvents;
using Dynamo.Vllm.Protocol.StateAgents;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.UnitTests.Protocol.StateAgents;

/// <summary>Against what the official package put into a store, with its own agent there.</summary>
public sealed class StateAgentRecordsTests
{
    private const string Owner =
        "0123456789abcdef0123456789abcdef:fedcba9876543210fedcba9876543210/0011223344556677/00112233445566778899aabbccddeeff";

    private static readonly JsonObject Captured = Golden.Json("kv/state-agent-intent.json");

    [Fact]
    public void A_wish_is_the_official_one()
    {
        var metadata = Captured["intent"]!["metadata"]!;
        var producer = metadata["producer_instance"]!.DeepClone().AsObject();
        producer["type"] = "Endpoint";
        producer["device_type"] = "cuda";
        var record = StateAgentRecords.Intent(
            "dynamo",
            new PublisherId(metadata["intent_incarnation"]!.GetValue<ulong>()),
            StateAgentRecords.HostOf(Captured["host"]!.AsObject())!,
            producer,
            new InstanceId(producer["instance_id"]!.GetValue<ulong>()),
            new StateAttachment
            {
                Owner = CacheOwnerId.Parse(Owner)!,
                Rank = 0,
                StateEndpoint = new EndpointId("dynamo", "backend", "generate"),
                BlockSize = 32,
                EngineEndpoint = "tcp://192.0.2.2:29557",
                ImageToken = 151655,
                VideoToken = 151656,
                HintSource = new JsonObject { ["source_control_endpoint"] = "tcp://10.0.0.1:7000", ["worker_type"] = "aggregated" },
            }
        );
        Assert.Equal(DiscoveryRecord.EventSources, record.Bucket);
        Assert.Equal(Captured["intent_key"]!.GetValue<string>(), record.Key);
        Assert.Equal(Captured["intent"]!.ToJsonString(), record.Value.ToJsonString());
    }

    [Theory]
    [InlineData("")]
    [InlineData("0123456789abcdef0123456789abcdef:fedcba9876543210fedcba9876543210/0011223344556677")]
    [InlineData("0123456789ABCDEF0123456789abcdef:fedcba9876543210fedcba9876543210/0011223344556677/00112233445566778899aabbccddeeff")]
    [InlineData(Owner + "\n")]
    public void What_is_no_owner_s_name_is_none(string text) => Assert.Null(CacheOwnerId.Parse(text));

    [Fact]
    public void Owners_are_equal_by_their_names() => Assert.Equal(CacheOwnerId.Parse(Owner), CacheOwnerId.Parse(Owner));

    [Fact]
    public void An_agent_of_another_version_is_none()
    {
        var record = Captured["host"]!.DeepClone().AsObject();
        record["metadata"]!["protocol_version"] = "v3";
        Assert.Null(StateAgentRecords.HostOf(record));
        Assert.Null(StateAgentRecords.HostOf(new JsonObject { ["metadata"] = 5 }));
    }
}
