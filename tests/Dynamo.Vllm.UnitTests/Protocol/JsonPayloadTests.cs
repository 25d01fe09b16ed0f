using System.Text;
using System.Text.Json;
using Dynamo.Vllm.Protocol;

namespace Dynamo.Vllm.UnitTests.Protocol;

public sealed class JsonPayloadTests
{
    [Theory]
    [InlineData("""{"a":1,"a":{"b":2,"b":3}}""", """{"a":{"b":3}}""")]
    [InlineData("""[{"x":"1","x":null}]""", """[{"x":null}]""")]
    [InlineData("5", "5")]
    [InlineData("null", null)]
    public void Of_a_name_that_stands_there_twice_the_last_value_counts(string json, string? expected) =>
        Assert.Equal(expected, JsonPayload.Parse(Encoding.UTF8.GetBytes(json))?.ToJsonString());

    [Theory]
    [InlineData("""{"a":"\ud800"}""", "a holds text")]
    [InlineData("""{"\ud800":1}""", "holds text")]
    [InlineData("""{"a":[1e400]}""", "number out of range")]
    [InlineData("""{"a":1""", "")]
    public void What_is_no_JSON_for_the_reference_is_refused(string json, string problem)
    {
        var refusal = Assert.ThrowsAny<JsonException>(() => JsonPayload.Parse(Encoding.UTF8.GetBytes(json)));
        Assert.Contains(problem, refusal.Message, StringComparison.Ordinal);
    }
}
