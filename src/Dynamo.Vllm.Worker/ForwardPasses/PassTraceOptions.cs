using System.Globalization;
using Dynamo.Vllm.Worker.Configuration;

namespace Dynamo.Vllm.Worker.ForwardPasses;

/// <summary>What the variables say of the trace files; names, defaults and refusals are the official package's (seen of it).</summary>
internal sealed record PassTraceOptions
{
    private const string ModeVariable = "DYN_FPM_MODE";
    private const string PathVariable = "DYN_FPM_OUTPUT_PATH";

    /// <summary>A timer takes 49 days at most; a longer interval is cut to this.</summary>
    private static readonly TimeSpan IntervalMax = TimeSpan.FromDays(7);

    /// <summary>Path of the files without <c>.{producer}.{number}.jsonl.gz</c>.</summary>
    public string Path { get; init; } = "/tmp/dynamo-fpm";

    /// <summary>Every pass; else the last one of each rank in an interval.</summary>
    public bool IsFull { get; init; }

    public TimeSpan Interval { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Bytes of JSON in a file, before they are compressed.</summary>
    public long FileBytesMax { get; init; } = 256 * 1024 * 1024;

    /// <summary>Files of this process; the oldest goes when there are more.</summary>
    public int FilesMax { get; init; } = 4;

    /// <exception cref="ConfigurationException">A variable cannot be used; the reference then writes no trace and goes on.</exception>
    public static PassTraceOptions Read(IReadOnlyDictionary<string, string> environment)
    {
        var defaults = new PassTraceOptions();
        var path = environment.GetValueOrDefault(PathVariable, defaults.Path);
        if (path.Length == 0)
        {
            throw new ConfigurationException($"{PathVariable} must not be empty");
        }

        var interval = Number(environment, "DYN_FPM_SAMPLE_INTERVAL_MS", (ulong)defaults.Interval.TotalMilliseconds);
        return new PassTraceOptions
        {
            Path = path,
            IsFull = environment.GetValueOrDefault(ModeVariable, "sampled").Trim().ToLowerInvariant() switch
            {
                "sampled" => false,
                "full" => true,
                _ => throw new ConfigurationException($"{ModeVariable} must be sampled or full"),
            },
            Interval = TimeSpan.FromMilliseconds(Math.Min(interval, IntervalMax.TotalMilliseconds)),
            FileBytesMax = (long)Math.Min(Number(environment, "DYN_FPM_JSONL_GZ_ROLL_BYTES", (ulong)defaults.FileBytesMax), long.MaxValue),
            FilesMax = (int)Math.Min(Number(environment, "DYN_FPM_MAX_SEGMENTS", (ulong)defaults.FilesMax), int.MaxValue),
        };
    }

    private static ulong Number(IReadOnlyDictionary<string, string> environment, string variable, ulong defaultValue)
    {
        if (!environment.TryGetValue(variable, out var text))
        {
            return defaultValue;
        }

        if (!ulong.TryParse(text.Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out var value))
        {
            throw new ConfigurationException($"{variable} must be a positive integer");
        }

        return value > 0 ? value : throw new ConfigurationException($"{variable} must be greater than zero");
    }
}
