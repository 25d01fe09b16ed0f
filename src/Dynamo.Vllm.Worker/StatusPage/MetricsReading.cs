using System.Globalization;
using Dynamo.Vllm.Protocol.Metrics;

namespace Dynamo.Vllm.Worker.StatusPage;

/// <summary>One look at a metrics page, added up over the series of each family.</summary>
internal sealed class MetricsReading
{
    private const string WorkerState = "dynamo_vllm_worker_state";

    private const string FirstToken = "vllm:time_to_first_token_seconds_bucket";

    private readonly Dictionary<string, double> _sums = new(StringComparer.Ordinal);
    private readonly Dictionary<string, int> _series = new(StringComparer.Ordinal);
    private readonly SortedDictionary<double, double> _firstToken = [];

    private MetricsReading(long timestamp) => Timestamp = timestamp;

    /// <summary>When it was taken, by the clock that does not jump.</summary>
    public long Timestamp { get; }

    /// <summary>What the worker does, in the words of its metrics; null where it does not tell.</summary>
    public string? State { get; private set; }

    /// <param name="text">Of the page.</param>
    /// <param name="timestamp">When it was read.</param>
    public static MetricsReading Parse(string text, long timestamp)
    {
        var reading = new MetricsReading(timestamp);
        foreach (var sample in ExpositionText.Parse(text).SelectMany(family => family.Samples))
        {
            reading._sums[sample.Name] = reading._sums.GetValueOrDefault(sample.Name) + sample.Value;
            reading._series[sample.Name] = reading._series.GetValueOrDefault(sample.Name) + 1;
            if (sample.Name == WorkerState && sample.Value == 1)
            {
                reading.State = sample.Labels.FirstOrDefault(label => label.Key == "state").Value;
            }

            if (sample.Name == FirstToken)
            {
                var le = sample.Labels.First(label => label.Key == "le").Value;
                var bound = le == "+Inf" ? double.PositiveInfinity : double.Parse(le, CultureInfo.InvariantCulture);
                reading._firstToken[bound] = reading._firstToken.GetValueOrDefault(bound) + sample.Value;
            }
        }

        return reading;
    }

    /// <summary>What happened since an earlier look.</summary>
    public StatusSample Since(MetricsReading earlier, DateTimeOffset now, TimeProvider time)
    {
        var seconds = time.GetElapsedTime(earlier.Timestamp, Timestamp).TotalSeconds;
        return new StatusSample(
            now,
            Rate(earlier, "vllm:generation_tokens_total", seconds),
            Rate(earlier, "vllm:prompt_tokens_total", seconds),
            Rate(earlier, "dynamo_vllm_requests_accepted_total", seconds),
            Sum("dynamo_vllm_requests_open") ?? 0,
            Sum("vllm:num_requests_waiting"),
            Sum("vllm:kv_cache_usage_perc") / _series.GetValueOrDefault("vllm:kv_cache_usage_perc"),
            Percentile(0.95, earlier)
        );
    }

    /// <summary>Of all series of a name; null where there is none.</summary>
    public double? Sum(string name) => _sums.TryGetValue(name, out var sum) ? sum : null;

    /// <summary>A total that is smaller than it was began anew.</summary>
    private double? Rate(MetricsReading earlier, string name, double seconds) =>
        Sum(name) is { } now && seconds > 0 ? Math.Max(0, now - (earlier.Sum(name) ?? 0)) / seconds : null;

    /// <summary>As Prometheus reckons it: evenly within a bucket; the bound of the last one where it is beyond all.</summary>
    private double? Percentile(double share, MetricsReading earlier)
    {
        var below = 0.0;
        var bound = 0.0;
        var wanted = share * CountUpTo(double.PositiveInfinity, earlier);
        if (wanted <= 0)
        {
            return null;
        }

        foreach (var next in _firstToken.Keys)
        {
            var count = CountUpTo(next, earlier);
            if (count >= wanted)
            {
                return double.IsInfinity(next) ? bound : bound + ((next - bound) * (wanted - below) / (count - below));
            }

            (below, bound) = (count, next);
        }

        return null;
    }

    private double CountUpTo(double bound, MetricsReading earlier) =>
        _firstToken.GetValueOrDefault(bound) - earlier._firstToken.GetValueOrDefault(bound);
}
