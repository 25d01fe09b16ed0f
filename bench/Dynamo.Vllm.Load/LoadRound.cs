using System.Diagnostics;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.Load;

/// <summary>One round against one model name, with the CPU that the worker's own process spent on it.</summary>
internal sealed class LoadRound
{
    private readonly List<double> _firstTokens = [];
    private readonly List<double> _gaps = [];
    private readonly Lock _lock = new();

    private LoadRound(string name) => Name = name;

    public string Name { get; }

    public int Tokens { get; private set; }

    /// <summary>Pieces that the tokens came in, as the client sees them: fewer than tokens where somebody on the way was behind.</summary>
    public int Items { get; private set; }

    public int Failed { get; private set; }

    public TimeSpan Cpu { get; private set; }

    /// <summary>Of the frontend, which works for whoever made the tokens.</summary>
    public TimeSpan FrontendCpu { get; private set; }

    public TimeSpan Wall { get; private set; }

    public double CpuMicrosecondsPerToken => Cpu.TotalMicroseconds / Math.Max(1, Tokens);

    public static async Task<LoadRound> RunAsync(Frontend frontend, string model, int processId, int streams, LoadOptions options)
    {
        var round = new LoadRound(model);
        var cpu = CpuOf(processId);
        var frontendCpu = CpuOf(frontend.Process.Id);
        var started = Stopwatch.GetTimestamp();
        await Parallel.ForEachAsync(
            Enumerable.Range(0, options.Requests ?? 4 * streams),
            new ParallelOptions { MaxDegreeOfParallelism = streams },
            async (i, _) => await round.RequestAsync(frontend, model, i, options.Tokens)
        );
        round.Wall = Stopwatch.GetElapsedTime(started);
        round.Cpu = CpuOf(processId) - cpu;
        round.FrontendCpu = CpuOf(frontend.Process.Id) - frontendCpu;
        return round;
    }

    public override string ToString() =>
        $"{Name, -9} {Tokens, 7} tokens in {Items, 7} items  {Tokens / Wall.TotalSeconds, 8:F0} tok/s  "
        + $"{CpuMicrosecondsPerToken, 7:F1} us CPU/token  frontend {FrontendCpu.TotalMicroseconds / Math.Max(1, Tokens), 6:F1}  "
        + $"TTFT p50 {Percentile(_firstTokens, 0.5), 7:F1} p99 {Percentile(_firstTokens, 0.99), 7:F1} ms  ITL p50 "
        + $"{Percentile(_gaps, 0.5), 6:F2} p99 {Percentile(_gaps, 0.99), 6:F2} ms  failed {Failed}";

    /// <summary>User and system time of the process itself, without its children.</summary>
    private static TimeSpan CpuOf(int processId)
    {
        var stat = File.ReadAllText($"/proc/{processId}/stat");
        var fields = stat[(stat.LastIndexOf(')') + 2)..].Split(' ');
        // Fields 14 and 15 of the file, in ticks of 10 ms.
        return TimeSpan.FromMilliseconds(10 * (long.Parse(fields[11], null) + long.Parse(fields[12], null)));
    }

    private static double Percentile(List<double> values, double share) =>
        values.Count == 0 ? double.NaN : values.Order().ElementAt(Math.Min(values.Count - 1, (int)(values.Count * share)));

    private async Task RequestAsync(Frontend frontend, string model, int index, int tokens)
    {
        var prompt = string.Join(' ', Enumerable.Range(index, 40).Select(n => $"w{n % 97}"));
        var body = new JsonObject
        {
            ["model"] = model,
            ["prompt"] = prompt,
            ["max_tokens"] = tokens,
            ["temperature"] = 0,
            ["ignore_eos"] = true,
            ["stream"] = true,
            ["stream_options"] = new JsonObject { ["include_usage"] = true },
        };
        var started = Stopwatch.GetTimestamp();
        using var response = await frontend.PostAsync("/v1/completions", body);
        using var reader = new StreamReader(await response.Content.ReadAsStreamAsync());
        long previous = 0;
        var generated = 0;
        var items = -1; // the last chunk only holds the usage
        var gaps = new List<double>();
        var first = double.NaN;
        while (await reader.ReadLineAsync() is { } line)
        {
            if (!line.StartsWith("data: {", StringComparison.Ordinal))
            {
                continue;
            }

            var now = Stopwatch.GetTimestamp();
            if (previous == 0)
            {
                first = Stopwatch.GetElapsedTime(started, now).TotalMilliseconds;
            }
            else
            {
                gaps.Add(Stopwatch.GetElapsedTime(previous, now).TotalMilliseconds);
            }

            previous = now;
            items++;
            // The last chunk; this process measures, so it parses no other.
            if (line.Contains("completion_tokens", StringComparison.Ordinal))
            {
                generated = JsonNode.Parse(line[6..])?["usage"]?["completion_tokens"]?.GetValue<int>() ?? generated;
            }
        }

        lock (_lock)
        {
            Tokens += generated;
            Items += items;
            Failed += generated == tokens ? 0 : 1;
            _firstTokens.Add(first);
            _gaps.AddRange(gaps);
        }
    }
}
