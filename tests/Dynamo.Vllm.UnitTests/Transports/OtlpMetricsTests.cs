using Dynamo.Vllm.Protocol.Metrics;
using Dynamo.Vllm.Transports.Otlp;
using Dynamo.Vllm.Transports.Otlp.Wire;

namespace Dynamo.Vllm.UnitTests.Transports;

/// <summary>Families of the page as OTLP has them.</summary>
public sealed class OtlpMetricsTests
{
    private static readonly DateTimeOffset Started = new(2026, 11, 28, 12, 0, 0, TimeSpan.Zero);

    [Fact]
    public void A_histogram_is_told_between_its_bounds_also_when_it_counted_nothing()
    {
        var metric = Single(
            """
            # TYPE h histogram
            h_bucket{a="1",le="0.5"} 2
            h_bucket{a="1",le="1"} 5
            h_bucket{a="1",le="+Inf"} 6
            h_sum{a="1"} 7.5
            h_count{a="1"} 6
            h_bucket{a="2",le="0.5"} 0
            h_bucket{a="2",le="1"} 0
            h_bucket{a="2",le="+Inf"} 0
            h_sum{a="2"} 0
            h_count{a="2"} 0
            """
        );

        Assert.Equal(AggregationTemporality.Cumulative, metric.Histogram.AggregationTemporality);
        var (first, second) = (metric.Histogram.DataPoints[0], metric.Histogram.DataPoints[1]);
        Assert.Equal([2UL, 3, 1], first.BucketCounts);
        Assert.Equal([0.5, 1], first.ExplicitBounds);
        Assert.Equal(
            (7.5, 6UL, "a", "1"),
            (first.Sum, first.Count, first.Attributes.Single().Key, first.Attributes.Single().Value.StringValue)
        );
        Assert.Equal([0UL, 0, 0], second.BucketCounts);
        Assert.True(second.HasSum);
        Assert.Equal(1_795_867_200_000_000_000UL, first.StartTimeUnixNano);
        Assert.Equal(1_795_867_205_000_000_000UL, first.TimeUnixNano);
    }

    [Fact]
    public void A_counter_of_the_engine_goes_by_its_own_name_and_start()
    {
        var metric = Single(
            """
            # TYPE vllm:tokens_total counter
            vllm:tokens_total{e="0"} 3
            vllm:tokens_total{e="1"} 4
            # TYPE vllm:tokens_created gauge
            vllm:tokens_created{e="1"} 1.7958672e+09
            """
        );

        Assert.Equal("vllm:tokens", metric.Name);
        Assert.True(metric.Sum.IsMonotonic);
        Assert.Equal([3, 4], metric.Sum.DataPoints.Select(point => point.AsDouble));
        Assert.Equal(["prometheus.type=counter"], metric.Metadata.Select(pair => $"{pair.Key}={pair.Value.StringValue}"));
        Assert.All(metric.Sum.DataPoints, point => Assert.Equal(1_795_867_200_000_000_000UL, point.StartTimeUnixNano));
    }

    [Theory]
    [InlineData("# TYPE dynamo_a_total counter\ndynamo_a_total 1", "dynamo_a_total", "Sum")]
    [InlineData("# TYPE vllm:a_total histogram\nvllm:a_total_count 1", "vllm:a_total", "Histogram")]
    [InlineData("# TYPE a gauge\na 1", "a", "Gauge")]
    [InlineData("a 1", "a", "Gauge")]
    [InlineData("# TYPE a summary\na{quantile=\"0.5\"} 1\na_sum 2\na_count 3", "a", "Summary")]
    public void Names_and_kinds_are_kept(string text, string name, string kind)
    {
        var metric = Single(text);
        Assert.Equal((name, kind), (metric.Name, metric.DataCase.ToString()));
    }

    [Fact]
    public void Labels_are_in_the_order_of_their_names() =>
        Assert.Equal(
            ["_b", "a", "c"],
            Single("# TYPE a gauge\na{c=\"1\",_b=\"2\",a=\"3\"} 1").Gauge.DataPoints.Single().Attributes.Select(pair => pair.Key)
        );

    [Fact]
    public void A_family_without_series_is_left_out() => Assert.Empty(Build("# HELP a b\n# TYPE a counter\n"));

    [Theory]
    [InlineData("NaN")]
    [InlineData("-1")]
    [InlineData("+Inf")]
    public void A_count_that_is_none_is_zero(string text)
    {
        var point = Single($"# TYPE h histogram\nh_bucket{{le=\"+Inf\"}} {text}\nh_count {text}").Histogram.DataPoints.Single();
        Assert.Equal((0UL, 0UL), (point.Count, point.BucketCounts.Single()));
    }

    private static Metric Single(string text) => Assert.Single(Build(text));

    private static IReadOnlyList<Metric> Build(string text) =>
        OtlpMetrics
            .Build(
                ExpositionText.Parse(text),
                new OtlpOptions { Endpoint = new Uri("http://localhost:4317") },
                Started,
                Started + TimeSpan.FromSeconds(5)
            )
            .ResourceMetrics.Single()
            .ScopeMetrics.Single()
            .Metrics;
}
