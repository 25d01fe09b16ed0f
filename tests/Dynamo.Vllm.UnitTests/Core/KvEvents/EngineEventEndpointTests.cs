using Dynamo.Vllm.Core.KvEvents;

namespace Dynamo.Vllm.UnitTests.Core.KvEvents;

public sealed class EngineEventEndpointTests
{
    [Theory]
    [InlineData("tcp://*:5557", 0, "tcp://127.0.0.1:5557")]
    [InlineData("tcp://*:5557", 3, "tcp://127.0.0.1:5560")]
    [InlineData("tcp://[::]:5557", 1, "tcp://[::1]:5558")]
    [InlineData("tcp://*:0", 2, "tcp://127.0.0.1:0")]
    [InlineData("ipc:///tmp/kv", 2, "ipc:///tmp/kv")]
    [InlineData("inproc://kv", 0, "inproc://kv")]
    [InlineData("inproc://kv", 2, "inproc://kv_dp2")]
    public void Each_rank_has_the_port_that_the_engine_gives_it(string configured, int rank, string expected) =>
        Assert.Equal(expected, EngineEventEndpoint.OfRank(configured, rank));
}
