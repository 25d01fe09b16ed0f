using System.Globalization;
using Dynamo.Vllm.Worker.StatusPage;

namespace Dynamo.Vllm.Worker.Tools;

/// <summary>The table of <c>top</c>: a line a worker, in columns that stay where they are, so that scripts can cut them.</summary>
internal static class TopTable
{
    private const string Unknown = "-";

    public static string Text(IReadOnlyList<TopRow> rows)
    {
        var width = Math.Max("WORKER".Length, rows.Max(row => row.Worker.Length));
        var lines = new List<string> { Line(width, "WORKER", "STATE", "RUN", "WAIT", "OUT/s", "IN/s", "REQ/s", "KV%", "TTFT95") };
        lines.AddRange(rows.Select(row => Line(width, row)));
        if (rows.Count > 1)
        {
            lines.Add(Line(width, Sum(rows)));
        }

        return string.Join('\n', lines);
    }

    private static TopRow Sum(IReadOnlyList<TopRow> rows)
    {
        var samples = rows.Select(row => row.Sample).OfType<StatusSample>().ToList();
        var seen =
            samples.Count > 0
                ? new StatusSample(
                    samples[^1].Time,
                    Total(samples.Select(sample => sample.OutputTokens)),
                    Total(samples.Select(sample => sample.PromptTokens)),
                    Total(samples.Select(sample => sample.Requests)),
                    samples.Sum(sample => sample.Open),
                    Total(samples.Select(sample => sample.Waiting)),
                    CacheUsage: null, // caches may differ in size, and percentiles do not add up
                    FirstToken: null
                )
                : null;
        return new TopRow("all", $"{rows.Count(row => row.State == "serving")} serving", Total(rows.Select(row => row.Running)), seen);
    }

    /// <summary>Of what is known; null where nothing is.</summary>
    private static double? Total(IEnumerable<double?> values) => values.Aggregate((double?)null, (sum, value) => (sum ?? 0) + value ?? sum);

    private static string Line(int width, TopRow row) =>
        row.Sample is { } sample
            ? Line(
                width,
                row.Worker,
                row.State,
                Number(row.Running, "0"),
                Number(sample.Waiting, "0"),
                Number(sample.OutputTokens, "0.0"),
                Number(sample.PromptTokens, "0.0"),
                Number(sample.Requests, "0.0"),
                Number(sample.CacheUsage * 100, "0"),
                Number(sample.FirstToken, "0.000")
            )
            : $"{row.Worker.PadRight(width)}  {row.State}";

    private static string Line(
        int width,
        string worker,
        string state,
        string running,
        string waiting,
        string output,
        string prompt,
        string requests,
        string cache,
        string firstToken
    ) =>
        $"{worker.PadRight(width)}  {state, -11} {running, 6} {waiting, 6} {output, 9} {prompt, 9} "
        + $"{requests, 7} {cache, 4} {firstToken, 7}";

    private static string Number(double? value, string format) => value?.ToString(format, CultureInfo.InvariantCulture) ?? Unknown;
}
