using System.Text;
using System.Text.Json;
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
        Assert.Equal(
            isCycle ? "Invalid guided_json schema: non-progressing local $ref cycle detected" : null,
            GuidedJsonGuard.FindProblem(Encoding.UTF8.GetBytes(schema))
        );

    [Fact]
    public void A_schema_as_deep_as_a_body_may_be_is_left_to_the_engine() =>
        Assert.Null(GuidedJsonGuard.FindProblem(Encoding.UTF8.GetBytes(Nested(120))));

    [Theory]
    [InlineData(200, "sampling_options.guided_decoding.json is nested deeper than the limit 128")]
    [InlineData(100_000, "sampling_options.guided_decoding.json is nested deeper than the limit 128")]
    [InlineData(120, null)]
    public void A_schema_that_comes_as_text_is_refused_beyond_the_same_depth(int levels, string? problem) =>
        Assert.Equal(problem, GuidedJsonGuard.FindProblem(JsonSerializer.SerializeToUtf8Bytes(Nested(levels))));

    [Fact]
    public void Half_a_surrogate_pair_in_a_schema_s_text_is_named() =>
        Assert.Equal(
            "sampling_options.guided_decoding.json: text that is not valid Unicode at 'properties.a.$ref'",
            GuidedJsonGuard.FindProblem(JsonSerializer.SerializeToUtf8Bytes("""{"properties":{"a":{"$ref":"#\ud800"}}}"""))
        );

    [Theory]
    [InlineData("""{"type":"string"}""")]
    [InlineData("""{"$ref":"#/properties/p49999"}""")]
    public void The_time_grows_with_the_schema_and_not_with_its_square(string schema)
    {
        var properties = string.Join(',', [.. Enumerable.Range(0, 49_999).Select(i => $"\"p{i}\":{schema}"), "\"p49999\":{}"]);
        var watch = System.Diagnostics.Stopwatch.StartNew();
        Assert.Null(GuidedJsonGuard.FindProblem(Encoding.UTF8.GetBytes($"{{\"properties\":{{{properties}}}}}")));
        // Half a second on a busy machine; half a minute when each property was looked for among all.
        Assert.True(watch.Elapsed < TimeSpan.FromSeconds(10), $"{watch.Elapsed}");
    }

    private static string Nested(int levels) => string.Concat(Enumerable.Repeat("{\"not\":", levels)) + "{}" + new string('}', levels);
}
