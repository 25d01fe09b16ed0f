using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core;
using Dynamo.Vllm.Core.Lifecycle;
using Dynamo.Vllm.Worker.Benchmark;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Hosting;

namespace Dynamo.Vllm.Worker.Stages;

/// <summary>With <c>--benchmark-mode</c>: the engine has measured itself, before anybody can send a request.</summary>
/// <remarks>The scheduler is the official package's, and runs in the engine's processes. Each rank leaves a file when it is done.</remarks>
internal sealed partial class BenchmarkStage : IStage
{
    /// <summary>From the end of the time asked for until the point under way is measured and written, as in the reference.</summary>
    private static readonly TimeSpan WriteLimit = TimeSpan.FromSeconds(90);

    private static readonly TimeSpan LookInterval = TimeSpan.FromSeconds(0.1);

    /// <summary>A grid has some thousands of points of a few kilobytes.</summary>
    private const long FileBytesMax = 256 << 20;

    private readonly EngineArgumentsStage _arguments;
    private readonly EngineStage _engine;
    private readonly TimeProvider _time;
    private readonly ILogger<BenchmarkStage> _logger;

    public BenchmarkStage(EngineArgumentsStage arguments, EngineStage engine, TimeProvider time, ILogger<BenchmarkStage> logger)
    {
        _arguments = arguments;
        _engine = engine;
        _time = time;
        _logger = logger;
    }

    public string Name => "benchmark";

    public TimeSpan DownLimit => TimeSpan.Zero;

    /// <summary>What was measured, as JSON; null without a benchmark.</summary>
    public ReadOnlyMemory<byte>? Results { get; private set; }

    public async Task UpAsync(CancellationToken cancellationToken)
    {
        if (_engine.BenchmarkPath is not { } path || _arguments.Configuration.Benchmark is not { } benchmark)
        {
            return;
        }

        var facts = _arguments.Engine.Description;
        var files = new BenchmarkFiles(path, facts.DataParallelStart, facts.DataParallelSize);
        File.Delete(files.Merged);
        var limit = TimeSpan.FromSeconds(benchmark["timeout"]!.GetValue<long>());
        LogWaiting(_logger, string.Join(", ", files.Ranks.Select(rank => rank.Path)), limit.TotalSeconds);
        await WaitAsync(files, limit + WriteLimit, cancellationToken).ConfigureAwait(false);
        var merged = BenchmarkResults.Merge([.. files.Ranks.Select(rank => (rank.Rank, rank.Path, Read(rank.Path)))], files.Merged);
        var json = JsonSerializer.SerializeToUtf8Bytes(merged, JsonNodeContext.Default.JsonObject);
        var temporary = files.Merged + ".tmp";
        await File.WriteAllBytesAsync(temporary, json, cancellationToken).ConfigureAwait(false);
        File.Move(temporary, files.Merged, overwrite: true);
        Results = json;
        LogDone(_logger, (string?)merged["status"], merged["results"]!.AsArray().Count, files.Merged);
    }

    public Task DownAsync(StopCause cause) => Task.CompletedTask;

    private async Task WaitAsync(BenchmarkFiles files, TimeSpan limit, CancellationToken cancellationToken)
    {
        var began = _time.GetTimestamp();
        while (files.Ranks.Where(rank => !File.Exists(rank.Path)).Select(rank => rank.Path).ToList() is { Count: > 0 } missing)
        {
            if (_arguments.Engine.Died.IsCompleted)
            {
                throw new WorkerExitException(ExitCodes.Failure, "The engine died while it measured itself (--benchmark-mode)");
            }

            if (_time.GetElapsedTime(began) > limit)
            {
                throw new WorkerExitException(
                    ExitCodes.Failure,
                    $"--benchmark-timeout: the engine has not left its results within {limit.TotalSeconds} s; missing: "
                        + string.Join(", ", missing)
                );
            }

            await Task.Delay(LookInterval, _time, cancellationToken).ConfigureAwait(false);
        }
    }

    private static JsonObject Read(string path)
    {
        var file = new FileInfo(path);
        if (file.Length > FileBytesMax)
        {
            throw new InvalidDataException($"The self-benchmark left {file.Length} bytes at {path}, limit {FileBytesMax}");
        }

        try
        {
            return JsonNode.Parse(File.ReadAllBytes(path)) as JsonObject
                ?? throw new InvalidDataException($"The self-benchmark left no JSON object at {path}");
        }
        catch (JsonException exception)
        {
            throw new InvalidDataException($"The self-benchmark left no JSON at {path}: {exception.Message}", exception);
        }
    }

    [LoggerMessage(EventId = 5130, Level = LogLevel.Information, Message = "Waiting for the self-benchmark ({Files}), for {Seconds} s")]
    private static partial void LogWaiting(ILogger logger, string files, double seconds);

    [LoggerMessage(EventId = 5131, Level = LogLevel.Information, Message = "Self-benchmark {Status}: {Points} points in {Path}")]
    private static partial void LogDone(ILogger logger, string? status, int points, string path);
}
