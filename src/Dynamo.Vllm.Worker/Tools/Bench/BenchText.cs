using System.Globalization;
using System.Text;

namespace Dynamo.Vllm.Worker.Tools.Bench;

/// <summary>The closing block, line for line as people know it from <c>vllm bench serve</c>.</summary>
internal static class BenchText
{
    private const int Width = 50;

    public static string Of(BenchSummary summary)
    {
        var options = summary.Options;
        var text = new StringBuilder();
        Title(text, " Serving Benchmark Result ", '=');
        Line(text, "Successful requests:", summary.Completed);
        Line(text, "Failed requests:", summary.Failed);
        if (options.Concurrency is { } concurrency)
        {
            Line(text, "Maximum request concurrency:", concurrency);
        }

        if (double.IsFinite(options.Rate))
        {
            Line(text, "Request rate configured (RPS):", options.Rate);
        }

        Line(text, "Benchmark duration (s):", summary.Seconds);
        Line(text, "Total input tokens:", summary.InputTokens);
        Line(text, "Total generated tokens:", summary.OutputTokens);
        Line(text, "Request throughput (req/s):", summary.PerSecond(summary.Completed));
        if (options.Goodput.Count > 0)
        {
            Line(text, "Request goodput (req/s):", summary.PerSecond(summary.Good));
        }

        Line(text, "Output token throughput (tok/s):", summary.PerSecond(summary.OutputTokens));
        Line(text, "Peak output token throughput (tok/s):", summary.PeakTokens);
        Line(text, "Peak concurrent requests:", (double)summary.PeakRequests);
        Line(text, "Total token throughput (tok/s):", summary.PerSecond(summary.InputTokens + summary.OutputTokens));
        foreach (var metric in BenchOptions.Metrics.Where(options.PercentileMetrics.Contains))
        {
            Metric(text, metric, summary.SampleOf(metric), options.Percentiles);
        }

        text.Append('=', Width).Append('\n');
        text.Append(Failures(summary));
        if (summary.Attempts.Count < options.Prompts || summary.Abandoned > 0)
        {
            var unsent = options.Prompts - summary.Attempts.Count;
            text.Append(CultureInfo.InvariantCulture, $"Stopped early: {summary.Abandoned} requests were abandoned, {unsent} not sent\n");
        }

        return text.ToString();
    }

    /// <summary>A line for each kind of failure.</summary>
    public static string Failures(BenchSummary summary) =>
        string.Concat(
            summary.Failures.Select(kind =>
                string.Create(CultureInfo.InvariantCulture, $"{kind.Count} failed: {kind.Kind}; the first: {kind.First}\n")
            )
        );

    /// <summary>A percentile in the name of a figure: 99, 99.9.</summary>
    public static string Word(double percent) => percent.ToString("0.##########", CultureInfo.InvariantCulture);

    private static void Metric(StringBuilder text, string metric, Sample sample, IReadOnlyList<double> percentiles)
    {
        var (name, title) = metric switch
        {
            "ttft" => ("TTFT", "Time to First Token"),
            "tpot" => ("TPOT", "Time per Output Token (excl. 1st token)"),
            "itl" => ("ITL", "Inter-token Latency"),
            "e2el" => ("E2EL", "End-to-end Latency"),
            BenchOptions.ClientQueueTime => ("Client Queue Time", "Client-side Queueing"),
            _ => ("E2EL incl. Client Queue", "Queue-inclusive End-to-end Latency"),
        };
        Title(text, title, '-');
        Line(text, $"Mean {name} (ms):", sample.Mean * 1000);
        Line(text, $"Median {name} (ms):", sample.Median * 1000);
        foreach (var percent in percentiles)
        {
            Line(text, $"P{Word(percent)} {name} (ms):", sample.Percentile(percent) * 1000);
        }
    }

    private static void Title(StringBuilder text, string title, char fill)
    {
        var left = (Width - title.Length) / 2;
        text.Append(fill, left).Append(title).Append(fill, Width - left - title.Length).Append('\n');
    }

    private static void Line(StringBuilder text, string name, double value) =>
        Line(text, name, value.ToString("F2", CultureInfo.InvariantCulture));

    private static void Line(StringBuilder text, string name, long value) => Line(text, name, value.ToString(CultureInfo.InvariantCulture));

    private static void Line(StringBuilder text, string name, string value) =>
        text.Append(name.PadRight(40)).Append(' ').Append(value).Append('\n');
}
