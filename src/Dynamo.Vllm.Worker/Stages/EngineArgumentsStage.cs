using Dynamo.Vllm.Core.Lifecycle;
using Dynamo.Vllm.Engine;
using Dynamo.Vllm.Engine.Processes;
using Dynamo.Vllm.Python.Locating;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Configuration.Dump;
using Dynamo.Vllm.Worker.Configuration.Options;
using Dynamo.Vllm.Worker.Configuration.Rules;
using Dynamo.Vllm.Worker.Hosting;
using Dynamo.Vllm.Worker.Logging;

namespace Dynamo.Vllm.Worker.Stages;

/// <summary>The interpreter runs, vLLM has read its options, and the configuration
/// is complete: mistakes end here, before any other is waited for.</summary>
internal sealed partial class EngineArgumentsStage : IStage
{
    public const string StageName = "engine arguments";

    private readonly WorkerSettings _settings;
    private readonly StandardOutputs _outputs;
    private readonly ILoggerFactory _loggers;
    private readonly ILogger<EngineArgumentsStage> _logger;
    private WorkerFolder? _folder;
    private VllmEngine? _engine;
    private WorkerConfiguration? _configuration;

    public EngineArgumentsStage(WorkerSettings settings, StandardOutputs outputs, ILoggerFactory loggers)
    {
        _settings = settings;
        _outputs = outputs;
        _loggers = loggers;
        _logger = loggers.CreateLogger<EngineArgumentsStage>();
    }

    public string Name => StageName;

    public TimeSpan DownLimit => TimeSpan.Zero;

    /// <summary>Not built yet when this stage is up; <see cref="EngineStage"/> does it.</summary>
    public VllmEngine Engine => _engine!;

    public WorkerConfiguration Configuration => _configuration!;

    /// <summary>Null until vLLM has read its options.</summary>
    public WorkerConfiguration? ParsedConfiguration => _configuration;

    /// <summary>The interpreter's installation.</summary>
    public PythonInstallation Python { get; private set; } = null!;

    /// <summary>Folder of the simulated engine; null for the vLLM that is installed.</summary>
    public string? SimulatedPath => _settings.Arguments.Host.SimulatedEngine ? Path.Combine(AppContext.BaseDirectory, "simulated") : null;

    /// <summary>False once the options say that some of the engine's processes run elsewhere.</summary>
    public bool IsEngineOnThisHost => _configuration?.Engine.IsOnThisHost ?? true;

    /// <summary>How far the fetch of the model is; null where there is none.</summary>
    public FetchProgress? Fetched => _engine?.Fetched;

    /// <summary>For the engine's files: they go with the worker.</summary>
    public WorkerFolder Folder => _folder!;

    public async Task UpAsync(CancellationToken cancellationToken)
    {
        _folder = WorkerFolder.Create(_settings.Environment);
        if (_folder.Removed > 0)
        {
            LogRemoved(_logger, _folder.Removed, Path.GetDirectoryName(_folder.Path)!);
        }

        PythonEnvironment.Prepare(_settings, _folder);
        var host = _settings.Arguments.Host;
        var python = PythonLocator.Locate(host.Python, name => _settings.Environment.GetValueOrDefault(name));
        Python = python;
        LogPython(_logger, python.Executable, python.Version.ReplaceLineEndings(" "), python.LibraryPath);
        foreach (var orphan in OrphanProcesses.Find())
        {
            LogOrphan(_logger, orphan.Name, orphan.Id);
        }

        _engine = new VllmEngine(
            python,
            new VllmEngineOptions
            {
                Drive = host.EngineDrive,
                ItemInterval = host.ItemInterval,
                ErrorDescriptor = _outputs.ErrorDescriptor,
                SocketFolder = _folder.Path,
                SimulatedPath = SimulatedPath,
            },
            _loggers
        );
        _engine.StartInterpreter();
        var parsed = await _engine.ParseAsync(_settings.Arguments.EngineArguments, cancellationToken).ConfigureAwait(false);
        var resolver = new ConfigurationResolver(_settings.Environment, new NixlHostProbe(), File.Exists);
        _configuration = resolver.Resolve(_settings.Arguments, new EngineArgumentValues(parsed.Values, parsed.Model));
        Check(_configuration);
        if (_settings.Options.Get(RuntimeOptions.DumpConfigTo) is { Length: > 0 } path)
        {
            var dump = await ConfigurationDumpSource
                .RenderAsync(_configuration, _settings.Environment, python, _engine.Control, cancellationToken)
                .ConfigureAwait(false);
            if (ConfigurationDump.TryWrite(path, dump) is { } problem)
            {
                LogDumpFailed(_logger, path, problem, dump);
            }
        }
    }

    /// <summary>
    /// The interpreter ends with the engine (<see cref="EngineStage"/>), or with the process
    /// where there was none; what vLLM may have started while it read its options, and what its processes left, here.
    /// </summary>
    public Task DownAsync(StopCause cause)
    {
        ChildProcesses.KillAll();
        _folder?.Dispose();
        return Task.CompletedTask;
    }

    private void Check(WorkerConfiguration configuration)
    {
        foreach (var note in configuration.Notes)
        {
            LogNote(_logger, note);
        }

        foreach (var warning in configuration.Warnings.Concat(_settings.Runtime.Warnings))
        {
            LogWarning(_logger, warning);
        }

        if (configuration.UnsupportedFeatures.Count > 0)
        {
            throw new WorkerExitException(ExitCodes.Failure, string.Join('\n', configuration.UnsupportedFeatures));
        }
    }

    [LoggerMessage(EventId = 5004, Level = LogLevel.Information, Message = "Embedding {Executable} ({Version}), library {Library}")]
    private static partial void LogPython(ILogger logger, string executable, string version, string library);

    [LoggerMessage(
        EventId = 5038,
        Level = LogLevel.Information,
        Message = "Removed the temporary folders of {Count} workers in {Place} that were killed"
    )]
    private static partial void LogRemoved(ILogger logger, int count, string place);

    [LoggerMessage(EventId = 5005, Level = LogLevel.Warning, Message = "{Warning}")]
    private static partial void LogWarning(ILogger logger, string warning);

    [LoggerMessage(EventId = 5023, Level = LogLevel.Information, Message = "{Note}")]
    private static partial void LogNote(ILogger logger, string note);

    [LoggerMessage(
        EventId = 5015,
        Level = LogLevel.Warning,
        Message = "{Name} (process {Id}) is left over from an earlier worker and may hold the GPU; "
            + "kill it if the engine finds too little memory"
    )]
    private static partial void LogOrphan(ILogger logger, string name, int id);

    [LoggerMessage(
        EventId = 5018,
        Level = LogLevel.Warning,
        Message = "Cannot write the configuration to {Path}: {Problem}. CONFIG_DUMP: {Dump}"
    )]
    private static partial void LogDumpFailed(ILogger logger, string path, string problem, string dump);
}
