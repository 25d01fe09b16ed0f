using Dynamo.Vllm.Protocol.Metrics;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.UnitTests.Protocol.Metrics;

public sealed class ExpositionTextTests
{
    private static readonly string Captured = File.ReadAllText(
        Path.Combine(AppContext.BaseDirectory, "golden", "runtime", "metrics_python_worker.txt")
    );

    [Fact]
    public void A_page_of_the_official_worker_is_read_whole()
    {
        var families = ExpositionText.Parse(Captured);

        var lines = Captured.Split('\n');
        Assert.Equal(lines.Count(line => line.StartsWith("# TYPE", StringComparison.Ordinal)), families.Count);
        Assert.Equal(lines.Count(line => line.Length > 0 && line[0] != '#'), families.Sum(family => family.Samples.Count));
        Assert.DoesNotContain(families, family => family.Kind == MetricKind.Untyped || family.Help.Length == 0);
        var duration = families.Single(family => family.Name == "dynamo_component_request_duration_seconds");
        Assert.Equal(MetricKind.Histogram, duration.Kind);
        Assert.Contains(
            duration.Samples,
            sample => sample is { Name: "dynamo_component_request_duration_seconds_sum", Value: 0.758683133 }
        );
    }

    [Fact]
    public void Escapes_and_odd_numbers_are_read()
    {
        var family = Assert.Single(
            ExpositionText.Parse("# HELP a one\\ntwo \\\\\n# TYPE a gauge\na{x=\"\\\"}\\n\\\\\",y=\"\",} +Inf 123\na -Inf\na NaN\na 1e-7\n")
        );

        Assert.Equal("one\ntwo \\", family.Help);
        Assert.Equal(MetricKind.Gauge, family.Kind);
        Assert.Equal([double.PositiveInfinity, double.NegativeInfinity, double.NaN, 1e-7], family.Samples.Select(sample => sample.Value));
        Assert.Equal([new("x", "\"}\n\\"), new("y", "")], family.Samples[0].Labels);
    }

    [Theory]
    [InlineData("{x=\"1\"} 2")]
    [InlineData("b")]
    [InlineData("b ")]
    [InlineData("b two")]
    [InlineData("b{x=\"1} 2")]
    [InlineData("b{x=1} 2")]
    [InlineData("b{")]
    [InlineData("b{x=\"1\"")]
    [InlineData("#")]
    [InlineData("# HELP")]
    [InlineData("# EOF")]
    [InlineData("# TYPE a 7")]
    public void A_line_that_is_none_costs_only_itself(string line)
    {
        var families = ExpositionText.Parse($"# TYPE a counter\n{line}\na 1\nc 2\n");

        Assert.Equal(["a", "c"], families.Select(family => family.Name));
        Assert.Equal([MetricKind.Counter, MetricKind.Untyped], families.Select(family => family.Kind));
        Assert.All(families, family => Assert.Single(family.Samples));
    }

    [Fact]
    public void A_page_that_is_cut_anywhere_is_read_up_to_there()
    {
        var whole = ExpositionText.Parse(Captured).Count;
        for (var length = 0; length < Captured.Length; length += 7)
        {
            // One more where the cut is inside of a name.
            Assert.InRange(ExpositionText.Parse(Captured[..length]).Count, 0, whole + 1);
        }
    }
}
