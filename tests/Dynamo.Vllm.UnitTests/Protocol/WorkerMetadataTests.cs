using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Protocol.Hashing;

namespace Dynamo.Vllm.UnitTests.Protocol;

public sealed class WorkerMetadataTests
{
    private static readonly EndpointId Generate = new("p1ns", "backend", "generate");

    [Theory]
    [InlineData("worker-0", 0xb2843710f49c0cff, 1186445869714687)]
    [InlineData("worker-0-engine-0", 0x783c9a5dad7b0253, 8051026481054291)]
    [InlineData("vllm-agg-decode-6f5c9d7b9c-x2x7k", 0x52157e0743961ff7, 6049544174706679)]
    [InlineData("a", 0x719b50b9a4f0e9f3, 7688582637611507)]
    public void The_identity_is_what_rust_hashes_the_name_to(string name, ulong hash, ulong instance)
    {
        Assert.Equal(hash, SipHash13.Hash([.. System.Text.Encoding.UTF8.GetBytes(name), 0xff]));
        Assert.Equal(instance, WorkerMetadata.InstanceOf(name).Value);
    }

    [Fact]
    public void Hashes_of_all_lengths_around_a_block_differ() =>
        Assert.Equal(40, Enumerable.Range(0, 40).Select(length => SipHash13.Hash(new byte[length])).Distinct().Count());

    [Fact]
    public void A_resource_of_the_pod_s_own_name_is_controlled_by_it_and_others_are_not()
    {
        static bool IsControlled(string name) =>
            (bool)WorkerMetadata.Empty.ToResource(name, "pod", "uid")["metadata"]!["ownerReferences"]![0]!["controller"]!;
        Assert.True(IsControlled("pod"));
        Assert.False(IsControlled("pod-engine-0"));
    }

    [Fact]
    public void A_change_leaves_the_metadata_that_it_came_from_as_it_was()
    {
        var record = DiscoveryRecord.Model(Generate, new InstanceId(7), []);
        var with = WorkerMetadata.Empty.With(record);
        Assert.True(WorkerMetadata.Empty.IsEmpty);
        Assert.False(with.IsEmpty);
        Assert.True(with.Without(record).IsEmpty);
        Assert.False(with.IsEmpty);
    }

    [Theory]
    [InlineData("""{"kind":"namespace","name":"n"}""", "n", "")]
    [InlineData("""{"kind":"component","namespace":"n","component":"c"}""", "n", "c")]
    [InlineData("""{"kind":"endpoint","endpoint":{"namespace":"n","component":"c","name":"e"}}""", "n", "c")]
    public void Event_channels_carry_the_fields_of_the_older_form(string scope, string expectedNamespace, string component)
    {
        var channel = new DiscoveryRecord(DiscoveryRecord.EventChannels, "k", new JsonObject { ["scope"] = JsonNode.Parse(scope) });
        var value = WorkerMetadata.Empty.With(channel).ToJson()["event_channels"]!["k"]!;
        Assert.Equal(expectedNamespace, (string?)value["namespace"]);
        Assert.Equal(component, (string?)value["component"]);
        Assert.False(channel.Value.ContainsKey("namespace"));
    }

    [Theory]
    [InlineData(DiscoveryRecord.EventChannels, "instance_id")]
    [InlineData(DiscoveryRecord.EventSources, "publisher_id")]
    public void Ids_that_a_floating_point_number_cannot_hold_are_refused(string bucket, string field)
    {
        DiscoveryRecord Record(ulong id) => new(bucket, "k", new JsonObject { [field] = id });
        Assert.False(WorkerMetadata.Empty.With(Record(WorkerMetadata.IdMax)).IsEmpty);
        var exception = Assert.Throws<ProtocolException>(() => WorkerMetadata.Empty.With(Record(WorkerMetadata.IdMax + 1)));
        Assert.Contains("9007199254740992", exception.Message, StringComparison.Ordinal);
    }
}
