using System.Net;
using Dynamo.Vllm.Worker.Configuration.Rules;
using Xunit;

namespace Dynamo.Vllm.UnitTests.Worker.Configuration;

public sealed class NixlHostProbeTests
{
    [Theory]
    [InlineData("10.0.0.1", true)]
    [InlineData("192.168.1.1", true)]
    [InlineData("8.8.8.8", true)]
    [InlineData("2001:db8::1", true)]
    [InlineData("fd00::1", true)]
    [InlineData("127.0.0.2", false)]
    [InlineData("169.254.1.1", false)]
    [InlineData("0.0.0.0", false)]
    [InlineData("239.0.0.1", false)]
    [InlineData("::1", false)]
    [InlineData("::", false)]
    [InlineData("fe80::1", false)]
    [InlineData("ff02::1", false)]
    [InlineData("::ffff:127.0.0.1", false)]
    public void Only_addresses_that_other_hosts_can_reach_are_routable(string address, bool expected) =>
        Assert.Equal(expected, NixlHostProbe.IsRoutable(IPAddress.Parse(address)));
}
