using System.Globalization;
using Dynamo.Vllm.Protocol.Metrics;
using Dynamo.Vllm.Transports.Otlp.Wire;

namespace Dynamo.Vllm.Transports.Otlp;

/// <summary>Families of the metrics page as OTLP has them.</summary>
/// <remarks>
/// As the reference's exporter does it (seen on the wire of the official worker): one scope, names as on the page, gauges as gauges,
/// counters as cumulative sums, every value a double, and series that have counted nothing are there. Families of the engine are named
/// as its own library names them: a counter without <c>_total</c>; what the page shows as <c>_created</c> is when a series began.
/// </remarks>
internal static class OtlpMetrics
{
    private const string ScopeName = "dynamo.runtime.metrics";
    private const string CreatedEnding = "_created";
    private const string TotalEnding = "_total";
    private static readonly string[] EnginePrefixes = ["vllm:", "lmcache:"];

    /// <param name="families">Of one page.</param>
    /// <param name="options">Resource and scope.</param>
    /// <param name="started">When this worker began to count.</param>
    /// <param name="now">When the page was read.</param>
    public static ExportMetricsServiceRequest Build(
        IReadOnlyList<MetricFamily> families,
        OtlpOptions options,
        DateTimeOffset started,
        DateTimeOffset now
    )
    {
        var times = new Times(Nanoseconds(started), Nanoseconds(now), Created(families));
        var scope = new ScopeMetrics
        {
            Scope = new InstrumentationScope { Name = ScopeName, Version = options.ScopeVersion },
        };
        foreach (var family in families)
        {
            if (family.Samples.Count > 0 && !IsCreated(family))
            {
                scope.Metrics.Add(Convert(family, times));
            }
        }

        var resource = new Resource();
        resource.Attributes.AddRange(options.Resource.Select(Attribute));
        return new ExportMetricsServiceRequest
        {
            ResourceMetrics =
            {
                new ResourceMetrics { Resource = resource, ScopeMetrics = { scope } },
            },
        };
    }

    private static Metric Convert(MetricFamily family, Times times)
    {
        var metric = new Metric { Name = NameOf(family), Description = family.Help };
        if (family.Kind != MetricKind.Untyped)
        {
            metric.Metadata.Add(Attribute(new("prometheus.type", family.Kind.ToString().ToLowerInvariant())));
        }

        switch (family.Kind)
        {
            case MetricKind.Counter:
                metric.Sum = new Sum { AggregationTemporality = AggregationTemporality.Cumulative, IsMonotonic = true };
                metric.Sum.DataPoints.AddRange(family.Samples.Select(sample => Number(sample, times.StartOf(metric.Name, sample), times)));
                break;
            case MetricKind.Histogram:
                metric.Histogram = new Histogram { AggregationTemporality = AggregationTemporality.Cumulative };
                metric.Histogram.DataPoints.AddRange(Series(family, "le").Select(series => HistogramPoint(family.Name, series, times)));
                break;
            case MetricKind.Summary:
                metric.Summary = new Summary();
                metric.Summary.DataPoints.AddRange(Series(family, "quantile").Select(series => SummaryPoint(family.Name, series, times)));
                break;
            default:
                metric.Gauge = new Gauge();
                metric.Gauge.DataPoints.AddRange(family.Samples.Select(sample => Number(sample, 0, times)));
                break;
        }

        return metric;
    }

    private static NumberDataPoint Number(MetricSample sample, ulong start, Times times)
    {
        var point = new NumberDataPoint
        {
            StartTimeUnixNano = start,
            TimeUnixNano = times.Now,
            AsDouble = sample.Value,
        };
        point.Attributes.AddRange(Attributes(sample.Labels));
        return point;
    }

    private static HistogramDataPoint HistogramPoint(string family, IReadOnlyList<MetricSample> series, Times times)
    {
        var point = new HistogramDataPoint { StartTimeUnixNano = times.StartOf(family, series[0]), TimeUnixNano = times.Now };
        var below = 0.0;
        foreach (var sample in series)
        {
            if (sample.Name.EndsWith("_sum", StringComparison.Ordinal))
            {
                point.Sum = sample.Value;
            }
            else if (sample.Name.EndsWith("_count", StringComparison.Ordinal))
            {
                point.Count = Count(sample.Value);
            }
            else if (Special(sample, "le") is { } bound)
            {
                // The page counts what lies below each bound, OTLP what lies between two.
                point.BucketCounts.Add(Count(sample.Value - below));
                below = sample.Value;
                if (!double.IsPositiveInfinity(bound))
                {
                    point.ExplicitBounds.Add(bound);
                }
            }
        }

        point.Attributes.AddRange(Attributes(Others(series[0], "le")));
        return point;
    }

    private static SummaryDataPoint SummaryPoint(string family, IReadOnlyList<MetricSample> series, Times times)
    {
        var point = new SummaryDataPoint { StartTimeUnixNano = times.StartOf(family, series[0]), TimeUnixNano = times.Now };
        foreach (var sample in series)
        {
            if (sample.Name.EndsWith("_sum", StringComparison.Ordinal))
            {
                point.Sum = sample.Value;
            }
            else if (sample.Name.EndsWith("_count", StringComparison.Ordinal))
            {
                point.Count = Count(sample.Value);
            }
            else if (Special(sample, "quantile") is { } quantile)
            {
                point.QuantileValues.Add(new SummaryDataPoint.Types.ValueAtQuantile { Quantile = quantile, Value = sample.Value });
            }
        }

        point.Attributes.AddRange(Attributes(Others(series[0], "quantile")));
        return point;
    }

    /// <summary>The samples of each series of a family, whose parts differ in one label.</summary>
    private static IEnumerable<List<MetricSample>> Series(MetricFamily family, string label) =>
        family.Samples.GroupBy(sample => Key(Others(sample, label))).Select(series => series.ToList());

    private static IEnumerable<KeyValuePair<string, string>> Others(MetricSample sample, string label) =>
        sample.Labels.Where(pair => pair.Key != label);

    private static double? Special(MetricSample sample, string label)
    {
        var text = sample.Labels.FirstOrDefault(pair => pair.Key == label).Value;
        return text is "+Inf" ? double.PositiveInfinity
            : double.TryParse(text, CultureInfo.InvariantCulture, out var number) ? number
            : null;
    }

    private static string NameOf(MetricFamily family) =>
        family.Kind == MetricKind.Counter && IsEngine(family.Name) && family.Name.EndsWith(TotalEnding, StringComparison.Ordinal)
            ? family.Name[..^TotalEnding.Length]
            : family.Name;

    private static bool IsEngine(string name) => EnginePrefixes.Any(prefix => name.StartsWith(prefix, StringComparison.Ordinal));

    private static bool IsCreated(MetricFamily family) =>
        family.Kind == MetricKind.Gauge && IsEngine(family.Name) && family.Name.EndsWith(CreatedEnding, StringComparison.Ordinal);

    private static Dictionary<(string Family, string Series), ulong> Created(IReadOnlyList<MetricFamily> families)
    {
        var created = new Dictionary<(string, string), ulong>();
        foreach (var family in families.Where(IsCreated))
        {
            foreach (var sample in family.Samples)
            {
                created[(family.Name[..^CreatedEnding.Length], Key(sample.Labels))] = Count(sample.Value * 1e9);
            }
        }

        return created;
    }

    private static string Key(IEnumerable<KeyValuePair<string, string>> labels) =>
        string.Join('\u0001', labels.Select(label => $"{label.Key}\u0002{label.Value}"));

    /// <summary>In the order of their names, as the reference sends them.</summary>
    private static IEnumerable<KeyValue> Attributes(IEnumerable<KeyValuePair<string, string>> labels) =>
        labels.OrderBy(label => label.Key, StringComparer.Ordinal).Select(Attribute);

    private static KeyValue Attribute(KeyValuePair<string, string> pair) =>
        new()
        {
            Key = pair.Key,
            Value = new AnyValue { StringValue = pair.Value },
        };

    /// <summary>What is no count (a number that is negative, or none) is zero.</summary>
    private static ulong Count(double value) => value is > 0 and < ulong.MaxValue ? (ulong)value : 0;

    private static ulong Nanoseconds(DateTimeOffset time) => (ulong)(time - DateTimeOffset.UnixEpoch).Ticks * 100;

    /// <param name="Started">Of the series that do not say.</param>
    /// <param name="Now">Of all points.</param>
    /// <param name="Created">Of the series that say.</param>
    private sealed record Times(ulong Started, ulong Now, Dictionary<(string Family, string Series), ulong> Created)
    {
        public ulong StartOf(string family, MetricSample sample) =>
            Created.GetValueOrDefault((family, Key(sample.Labels.Where(pair => pair.Key is not ("le" or "quantile")))), Started);
    }
}
