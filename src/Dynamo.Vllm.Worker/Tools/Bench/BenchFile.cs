using System.Globalization;
using System.Text.Json;

namespace Dynamo.Vllm.Worker.Tools.Bench;

/// <summary>The result as JSON, with the members that <c>vllm bench serve</c> gives it. Its texts and token counts of each answer are not
/// kept: what was generated is nobody's measurement.</summary>
internal static class BenchFile
{
    /// <returns>Where it is.</returns>
    /// <exception cref="IOException">It cannot be written.</exception>
    public static string Write(BenchFileOptions file, BenchSummary summary, string model, DateTimeOffset now)
    {
        var options = summary.Options;
        var label = file.Label ?? options.Backend;
        var date = now.ToString("yyyyMMdd-HHmmss", CultureInfo.InvariantCulture);
        var rate = double.IsFinite(options.Rate) ? options.Rate.ToString("0.0####", CultureInfo.InvariantCulture) : "inf";
        var concurrency = options.Concurrency is { } most ? string.Create(CultureInfo.InvariantCulture, $"-concurrency{most}") : "";
        var name = file.Name ?? $"{label}-{rate}qps{concurrency}-{model[(model.LastIndexOf('/') + 1)..]}-{date}.json";
        if (file.Folder is { } folder)
        {
            Directory.CreateDirectory(folder);
            name = Path.Combine(folder, name);
        }

        using var stream = File.Create(name);
        using var json = new Utf8JsonWriter(stream);
        json.WriteStartObject();
        json.WriteString("date", date);
        json.WriteString("endpoint_type", options.Backend);
        json.WriteString("backend", options.Backend);
        json.WriteString("label", file.Label);
        json.WriteString("model_id", model);
        json.WriteNumber("num_prompts", options.Prompts);
        foreach (var (key, value) in file.Metadata)
        {
            json.WriteString(key, value);
        }

        WriteTraffic(json, options);
        WriteTotals(json, summary);
        if (file.IsDetailed)
        {
            WriteAttempts(json, summary.Attempts);
        }

        foreach (var metric in options.PercentileMetrics)
        {
            WriteMetric(json, metric, summary.SampleOf(metric), options.Percentiles);
        }

        json.WriteEndObject();
        return name;
    }

    private static void WriteTraffic(Utf8JsonWriter json, BenchOptions options)
    {
        if (double.IsFinite(options.Rate))
        {
            json.WriteNumber("request_rate", options.Rate);
        }
        else
        {
            json.WriteString("request_rate", "inf");
        }

        json.WriteNumber("burstiness", 1.0);
        if (options.Concurrency is { } concurrency)
        {
            json.WriteNumber("max_concurrency", concurrency);
        }
        else
        {
            json.WriteNull("max_concurrency");
        }
    }

    private static void WriteTotals(Utf8JsonWriter json, BenchSummary summary)
    {
        json.WriteNumber("duration", summary.Seconds);
        json.WriteNumber("completed", summary.Completed);
        json.WriteNumber("failed", summary.Failed);
        json.WriteNumber("total_input_tokens", summary.InputTokens);
        json.WriteNumber("total_output_tokens", summary.OutputTokens);
        json.WriteNumber("request_throughput", summary.PerSecond(summary.Completed));
        if (summary.Options.Goodput.Count > 0)
        {
            json.WriteNumber("request_goodput", summary.PerSecond(summary.Good));
        }
        else
        {
            json.WriteNull("request_goodput");
        }

        json.WriteNumber("output_throughput", summary.PerSecond(summary.OutputTokens));
        json.WriteNumber("total_token_throughput", summary.PerSecond(summary.InputTokens + summary.OutputTokens));
        json.WriteNumber("max_output_tokens_per_s", summary.PeakTokens);
        json.WriteNumber("max_concurrent_requests", summary.PeakRequests);
    }

    private static void WriteAttempts(Utf8JsonWriter json, IReadOnlyList<Attempt> attempts)
    {
        Write("input_lens", attempt => json.WriteNumberValue(attempt.PromptTokens));
        Write("output_lens", attempt => json.WriteNumberValue(attempt.IsSuccess ? attempt.OutputTokens : 0));
        Write("ttfts", attempt => json.WriteNumberValue(attempt.FirstToken));
        Write("latencies", attempt => json.WriteNumberValue(attempt.Latency));
        Write("start_times", attempt => json.WriteNumberValue(attempt.Start));
        Write("queue_times", attempt => json.WriteNumberValue(attempt.QueueTime));
        Write("errors", attempt => json.WriteStringValue(attempt.IsAbandoned ? "abandoned" : attempt.Failure?.Message ?? ""));
        Write(
            "itls",
            attempt =>
            {
                json.WriteStartArray();
                attempt.Intervals.ForEach(json.WriteNumberValue);
                json.WriteEndArray();
            }
        );

        void Write(string name, Action<Attempt> write)
        {
            json.WriteStartArray(name);
            foreach (var attempt in attempts)
            {
                write(attempt);
            }

            json.WriteEndArray();
            json.Flush(); // not all of it in memory twice
        }
    }

    private static void WriteMetric(Utf8JsonWriter json, string metric, Sample sample, IReadOnlyList<double> percentiles)
    {
        json.WriteNumber($"mean_{metric}_ms", sample.Mean * 1000);
        json.WriteNumber($"median_{metric}_ms", sample.Median * 1000);
        json.WriteNumber($"std_{metric}_ms", sample.Deviation * 1000);
        foreach (var percent in percentiles.Distinct())
        {
            json.WriteNumber($"p{BenchText.Word(percent)}_{metric}_ms", sample.Percentile(percent) * 1000);
        }
    }
}
