using System.Text;
using Dynamo.Vllm.Core.Generate;

namespace Dynamo.Vllm.UnitTests.Core;

public sealed class GuidedJsonGuardTests
{
    [Theory]
    [InlineData("""{"$ref":"#"}""", true)]
    [InlineData("""{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}}}""", true)]
    [InlineData("""{"allOf":[{"$ref":"#"}]}""", true)]
    [InlineData("""{"properties":{"x":{"$ref":"#/properties/x"}}}""", true)]
    [InlineData("""{"properties":{"child":{"$ref":"#"}}}""", false)]
    [InlineData("""{"type":"array","items":{"$ref":"#"}}""", false)]
    [InlineData("""{"anyOf":[{"$ref":"#"}]}""", false)]
    [InlineData("""{"$ref":"#/missing"}""", false)]
    [InlineData("""{"type":"object"}""", false)]
    [InlineData("""{"$ref":"https://example.org/x"}""", false)]
    [InlineData("""{"$defs":{"a/b":{"allOf":[{"$ref":"#/$defs/a~1b"}]}},"$ref":"#/$defs/a~1b"}""", true)]
    [InlineData("""{"$defs":{"r":{"$id":"r","$ref":"#/$defs/x","$defs":{"x":{"type":"string"}}}},"$ref":"#/$defs/r"}""", false)]
    [InlineData("\"{\\\"$ref\\\":\\\"#\\\"}\"", true)]
    [InlineData("\"not a schema\"", false)]
    [InlineData("true", false)]
    public void Only_cycles_that_stay_on_one_value_are_found(string schema, bool isCycle) =>
        Assert.Equal(isCycle, GuidedJsonGuard.HasNonProgressingCycle(Encoding.UTF8.GetBytes(schema)));
}
