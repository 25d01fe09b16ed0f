using System.Text;
using Dynamo.Vllm.Transports.Nats;
using Microsoft.Extensions.Primitives;
using NATS.Client.Core;

namespace Dynamo.Vllm.UnitTests.Transports;

public sealed class NatsHeadersTests
{
    [Fact]
    public void Headers_become_a_json_object_of_strings()
    {
        var headers = new NatsHeaders
        {
            ["request-id"] = "c6a84014",
            ["x-frontend-send-ts-ns"] = "1795352332144536132",
            ["twice"] = new StringValues(["first", "last"]),
            ["quoted"] = "a\"b",
        };
        Assert.Equal(
            "{\"request-id\":\"c6a84014\",\"x-frontend-send-ts-ns\":\"1795352332144536132\",\"twice\":\"last\",\"quoted\":\"a\\u0022b\"}",
            Encoding.UTF8.GetString(NatsRequestPlane.HeadersJson(headers).Span)
        );
    }

    [Fact]
    public void No_headers_become_an_empty_object() => Assert.Equal("{}"u8.ToArray(), NatsRequestPlane.HeadersJson(null).ToArray());
}
