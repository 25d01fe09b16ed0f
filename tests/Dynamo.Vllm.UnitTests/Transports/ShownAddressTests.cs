using Dynamo.Vllm.Transports.Security;

namespace Dynamo.Vllm.UnitTests.Transports;

public sealed class ShownAddressTests
{
    [Theory]
    [InlineData("nats://localhost:4222", "nats://localhost:4222")]
    [InlineData("nats://user:pass@host:4222", "nats://host:4222")]
    [InlineData("nats://token@host,nats://u:p@ss@other:1/x@y", "nats://host,nats://other:1/x@y")]
    [InlineData("http://a:2379, https://root:pw@b:2379", "http://a:2379, https://b:2379")]
    [InlineData("host:2379", "host:2379")]
    public void A_login_in_an_address_is_not_shown(string addresses, string shown) => Assert.Equal(shown, ShownAddress.Of(addresses));
}
