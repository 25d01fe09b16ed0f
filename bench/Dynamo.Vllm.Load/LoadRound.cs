using System.Diagnostics;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.Load;

/// <summary>One round against one stack, with the CPU that its workers' own processes spent on it.</summary>
internal sealed class LoadRound
{
    private static int _prompts;

    private readonly List<double> _firstTokens = [];
    private readonly List<double> _gaps = [];
    private readonly Lock _lock = new();

    private LoadRound(string name) => Name = name;

    public string Name { get; }

    public int Tokens { get; private set; }

    /// <summary>Pieces that the tokens came in, as the client sees them: fewer than tokens where somebody on the way was behind.</summary>
    public int Items { get; private set; }

    public int Failed { get; private set; }

    /// <summary>Of each worker's process.</summary>
    public IReadOnlyList<TimeSpan> Cpu { get; private set; } = [];

    /// <summary>Of the frontend, which works for whoever made the tokens.</summary>
    public TimeSpan FrontendCpu { get; private set; }

    public TimeSpan Wall { get; private set; }

    public double CpuMicrosecondsPerToken(int worker) => Cpu[worker].TotalMicroseconds / Math.Max(1, Tokens);

    public static async Task<LoadRound> RunAsync(LoadedStack stack, int streams, LoadOptions options)
    {
        var round = new LoadRound(stack.Name);
        var frontend = stack.Frontend;
        TimeSpan[] cpu = [.. stack.Processes.Select(CpuOf)];
        var frontendCpu = CpuOf(frontend.Process.Id);
        var started = Stopwatch.GetTimestamp();
        await Parallel.ForEachAsync(
            Enumerable.Range(0, options.Requests ?? 4 * streams),
            new ParallelOptions { MaxDegreeOfParallelism = streams },
            async (i, _) => await round.RequestAsync(frontend, i, options)
        );
        round.Wall = Stopwatch.GetElapsedTime(started);
        round.Cpu = [.. stack.Processes.Select((process, worker) => CpuOf(process) - cpu[worker])];
        round.FrontendCpu = CpuOf(frontend.Process.Id) - frontendCpu;
        return round;
    }

    private string CpuOfWorkers => string.Join(" + ", Cpu.Select((_, worker) => $"{CpuMicrosecondsPerToken(worker), 7:F1}"));

    public override string ToString() =>
        $"{Name, -9} {Tokens, 7} tokens in {Items, 7} items  {Tokens / Wall.TotalSeconds, 8:F0} tok/s  "
        + $"{CpuOfWorkers} us CPU/token  frontend {FrontendCpu.TotalMicroseconds / Math.Max(1, Tokens), 6:F1}  "
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

    private async Task RequestAsync(Frontend frontend, int index, LoadOptions options)
    {
        var words = Enumerable.Range(index, options.PromptWords).Select(n => $"w{n % 97}");
        // What is cached already is not handed over, so there each prompt is one that nobody has sent before.
        var prompt = string.Join(' ', options.IsDisaggregated ? words.Prepend($"{Interlocked.Increment(ref _prompts)}") : words);
        var body = new JsonObject
        {
            ["model"] = Name,
            ["prompt"] = prompt,
            ["max_tokens"] = options.Tokens,
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
            Failed += generated == options.Tokens ? 0 : 1;
            _firstTokens.Add(first);
            _gaps.AddRange(gaps);
        }
    }
}
