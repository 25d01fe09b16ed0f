using System.Globalization;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Lifecycle;
using Dynamo.Vllm.Core.Metrics;
using Dynamo.Vllm.Engine.Processes;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Configuration.Options;
using Dynamo.Vllm.Worker.Hosting;
using Dynamo.Vllm.Worker.StatusPort;

namespace Dynamo.Vllm.Worker.Stages;

/// <summary>The model is loaded, and vLLM's processes run.</summary>
internal sealed partial class EngineStage : IStage
{
    public const string StageName = "engine";

    /// <summary>Python's own helpers end once the engine is down; they only have shared memory to remove.</summary>
    private static readonly TimeSpan HelperLimit = TimeSpan.FromSeconds(1);

    /// <summary>In vLLM's words: one vector for a prompt.</summary>
    private const string EmbedTask = "embed";
    private const string GenerateTask = "generate";

    private readonly WorkerSettings _settings;
    private readonly EngineArgumentsStage _arguments;
    private readonly ModelStage _model;
    private readonly PlanesStage _planes;
    private readonly MetricsPage _metrics;
    private readonly StopSteps _steps;
    private readonly TimeProvider _time;
    private readonly ILogger<EngineStage> _logger;
    private bool _isUp;

    public EngineStage(
        WorkerSettings settings,
        EngineArgumentsStage arguments,
        ModelStage model,
        PlanesStage planes,
        MetricsPage metrics,
        StopSteps steps,
        TimeProvider time,
        ILogger<EngineStage> logger
    )
    {
        _settings = settings;
        _arguments = arguments;
        _model = model;
        _planes = planes;
        _metrics = metrics;
        _steps = steps;
        _time = time;
        _logger = logger;
    }

    public string Name => StageName;

    public TimeSpan DownLimit => _settings.Runtime.Health.EngineShutdownTimeout + HelperLimit;

    /// <summary>Where the scheduler of rank 0 leaves what it measured; null without a benchmark.</summary>
    public string? BenchmarkPath { get; private set; }

    public async Task UpAsync(CancellationToken cancellationToken)
    {
        var started = _time.GetTimestamp();
        var configuration = _arguments.Configuration;
        var engine = _arguments.Engine;
        var overrides = new JsonObject(
            configuration.EngineOverrides.Select(pair => KeyValuePair.Create(pair.Key, pair.Value?.DeepClone()))
        );
        if (_model.EngineModel is { } folder)
        {
            overrides["model"] = folder;
        }

        var environment = EnvironmentOf(configuration);
        if (configuration.Benchmark is { } benchmark)
        {
            AddBenchmark(benchmark, configuration.Engine.Json["additional_config"] as JsonObject, overrides, environment);
        }

        var mode = configuration.Options.Get(VllmOptions.EmbeddingTransferMode);
        if (configuration.RoutesToEncoder)
        {
            overrides["enable_mm_embeds"] = true; // without it vLLM takes no embeddings from anybody
        }

        await engine
            .BuildAsync(
                overrides,
                environment,
                configuration.IsEncodeWorker ? VisionOf(configuration, mode) : null,
                configuration.RoutesToEncoder ? mode : null,
                cancellationToken
            )
            .ConfigureAwait(false);
        EngineMetrics.AddTo(_metrics.Worker, engine);
        var facts = engine.Description;
        if (configuration.IsEncodeWorker)
        {
            new WorkerMetrics(_metrics.Worker, configuration.ServedModelName, configuration.Component).SetLoadTime(
                _time.GetElapsedTime(started)
            );
        }
        else if (configuration.IsPoolingWorker)
        {
            CheckPools(facts, configuration.IsEmbeddingWorker);
        }
        else
        {
            await ShowMetricsAsync(configuration, _time.GetElapsedTime(started), cancellationToken).ConfigureAwait(false);
        }

        _isUp = true;
        LogEngine(_logger, configuration.ServedModelName, facts.EngineVersion, facts.MaxModelLength, facts.NumGpuBlocks, facts.BlockSize);
    }

    public async Task DownAsync(StopCause cause)
    {
        if (_isUp && cause.Kind == StopKind.Asked && !_arguments.Engine.Died.IsCompleted)
        {
            await _steps.TryAsync("engine shutdown", ShutDownAsync).ConfigureAwait(false);
        }

        // On every way out: an engine process left behind keeps the GPU from the next worker.
        var killed = ChildProcesses.KillAll();
        if (killed.Count > 0)
        {
            LogKilled(_logger, string.Join(", ", killed));
        }
    }

    /// <summary>Otherwise it would be registered, and refuse each request.</summary>
    private static void CheckPools(EngineDescription facts, bool embeds)
    {
        if (!embeds && !facts.Tasks.Any(task => task != GenerateTask))
        {
            throw new WorkerExitException(
                ExitCodes.Failure,
                "--classify-worker: the model as vLLM has loaded it pools nothing, it does generate. It needs --runner pooling, and "
                    + "--convert classify if it was not made to classify."
            );
        }

        if (embeds && !facts.Tasks.Contains(EmbedTask))
        {
            throw new WorkerExitException(
                ExitCodes.Failure,
                $"--embedding-worker: the model as vLLM has loaded it makes no embeddings, it does {string.Join(", ", facts.Tasks)}. "
                    + "It needs --runner pooling, and --convert embed if it was not made for embeddings."
            );
        }
    }

    private static JsonObject VisionOf(WorkerConfiguration configuration, string transferMode) =>
        new()
        {
            ["transfer_mode"] = transferMode,
            ["cache_gb"] = configuration.Options.Get(RuntimeOptions.MultimodalEmbeddingCacheCapacityGb),
        };

    private async Task ShowMetricsAsync(WorkerConfiguration configuration, TimeSpan loadTime, CancellationToken cancellationToken)
    {
        var engine = _arguments.Engine;
        var facts = engine.Description;
        var worker = new WorkerMetrics(_metrics.Worker, configuration.ServedModelName, configuration.Component);
        worker.SetLoadTime(loadTime);
        for (var rank = 0; rank < facts.DataParallelSize; rank++)
        {
            worker.SetBlocks(facts.DataParallelStart + rank, facts.BlocksPerRank);
        }

        engine.LoadChanged += load => worker.SetUsage(load.Rank, load.KvCacheUsage);
        var text = new EngineMetricsText(engine.Control, LabelsOf(configuration));
        await text.ReadFirstAsync(cancellationToken).ConfigureAwait(false);
        _metrics.Engine = text;
    }

    /// <summary>The scheduler reads it in its process. Workers of one host must not meet in the default file.</summary>
    private void AddBenchmark(JsonObject benchmark, JsonObject? additional, JsonObject overrides, JsonObject environment)
    {
        var settings = additional?.DeepClone().AsObject() ?? [];
        settings["benchmark"] = benchmark.DeepClone();
        overrides["additional_config"] = settings;
        BenchmarkPath = benchmark["output_path"]!.GetValue<string>();
        if (BenchmarkPath == (string?)VllmOptions.BenchmarkOutputPath.Default)
        {
            var id = environment["DYN_FPM_WORKER_ID"]!.GetValue<string>();
            BenchmarkPath = $"/tmp/benchmark_results_{id[Math.Max(0, id.Length - 8)..]}.json";
            environment["DYN_FPM_BENCHMARK_OUTPUT_PATH"] = BenchmarkPath;
        }
    }

    private JsonObject EnvironmentOf(WorkerConfiguration configuration)
    {
        var environment = new JsonObject(
            configuration.EnvironmentChanges.Select(pair => KeyValuePair.Create(pair.Key, (JsonNode?)pair.Value))
        );
        environment["DYN_FPM_WORKER_ID"] = _planes.Registration.Instance.Value.ToString(CultureInfo.InvariantCulture);
        if (PythonEnvironment.NamedMetricsFolder(_settings) is null)
        {
            // Only now, when the metrics library is loaded: it then keeps this process's values in memory, with their _created series, as
            // in the reference, while the engine's processes write theirs to files.
            environment[PythonEnvironment.MetricsFolder] = _arguments.Folder.Add("metrics");
        }

        return environment;
    }

    private Dictionary<string, string> LabelsOf(WorkerConfiguration configuration) =>
        new()
        {
            ["dynamo_component"] = configuration.Component,
            ["dynamo_endpoint"] = configuration.Endpoint,
            ["dynamo_namespace"] = configuration.Namespace,
            ["model"] = configuration.ServedModelName,
            ["model_name"] = configuration.ServedModelName,
            ["worker_id"] = _planes.Registration.Instance.Hex,
        };

    private async Task ShutDownAsync()
    {
        var engine = _arguments.Engine;
        using var limit = new CancellationTokenSource(_settings.Runtime.Health.EngineShutdownTimeout, _time);
        try
        {
            await engine.ShutdownAsync(TimeSpan.FromSeconds(engine.Description.ShutdownTimeoutSeconds), limit.Token).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is OperationCanceledException or EngineCallException)
        {
            LogDoesNotStop(_logger, exception.Message);
        }

        await ChildProcesses.WhenGoneAsync(HelperLimit).ConfigureAwait(false);
    }

    [LoggerMessage(
        EventId = 5006,
        Level = LogLevel.Information,
        Message = "Engine for {Model} is up: vLLM {EngineVersion}, context {MaxModelLength}, {Blocks} KV blocks of {BlockSize} tokens"
    )]
    private static partial void LogEngine(
        ILogger logger,
        string model,
        string engineVersion,
        int maxModelLength,
        long blocks,
        int blockSize
    );

    [LoggerMessage(EventId = 5013, Level = LogLevel.Error, Message = "The engine does not stop: {Problem}")]
    private static partial void LogDoesNotStop(ILogger logger, string problem);

    [LoggerMessage(EventId = 5014, Level = LogLevel.Warning, Message = "Killed what was left of the engine: {Processes}")]
    private static partial void LogKilled(ILogger logger, string processes);
}
