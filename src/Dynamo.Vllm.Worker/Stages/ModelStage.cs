using Dynamo.Vllm.Core.Lifecycle;
using Dynamo.Vllm.Engine;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Models;
using Dynamo.Vllm.Worker.StartUp;

namespace Dynamo.Vllm.Worker.Stages;

/// <summary>The model is on this host: a folder of its own, or fetched from the hub,
/// whose name vLLM gets all the same, as in the reference.</summary>
/// <remarks>Before any plane is joined: what is missing ends the start without a trace.</remarks>
internal sealed partial class ModelStage : IStage
{
    public const string StageName = "model";

    /// <summary>Load formats of a plugin that brings the weights by itself, and the one that makes them up.</summary>
    private static readonly HashSet<string> OwnWeights = new(StringComparer.Ordinal) { "mx", "modelexpress", "dummy" };

    private readonly EngineArgumentsStage _arguments;
    private readonly TimeProvider _time;
    private readonly ILogger<ModelStage> _logger;
    private string? _folder;
    private bool _isFetching;

    public ModelStage(EngineArgumentsStage arguments, TimeProvider time, ILogger<ModelStage> logger)
    {
        _arguments = arguments;
        _time = time;
        _logger = logger;
    }

    public string Name => StageName;

    public TimeSpan DownLimit => TimeSpan.Zero;

    /// <summary>Holds what the model card needs; the weights, too, unless somebody else brings them.</summary>
    public string Folder => _folder!;

    /// <summary>What vLLM is to load instead of the name; null where the name will do.</summary>
    public string? EngineModel { get; private set; }

    /// <summary>The engine reads weights from <see cref="Folder"/>, or from where vLLM keeps the same files.</summary>
    public bool ReadsWeights => _folder is not null && !OwnWeights.Contains(_arguments.Configuration.Engine.LoadFormat);

    public async Task UpAsync(CancellationToken cancellationToken)
    {
        var configuration = _arguments.Configuration;
        _folder = configuration.Model;
        if (ModelName.IsOnHub(configuration.Model))
        {
            var fetched = await FetchAsync(configuration.Model, configuration.Engine, cancellationToken).ConfigureAwait(false);
            _folder = fetched.Folder;
            EngineModel = fetched.IsHubAsked ? null : fetched.Folder;
        }

        ModelDirectory.Require(_folder, configuration.CustomJinjaTemplate);
    }

    public Task DownAsync(StopCause cause)
    {
        if (_isFetching)
        {
            LogCutOff(_logger, _arguments.Configuration.Model, PartialFiles.RemoveOpen());
        }

        return Task.CompletedTask;
    }

    private async Task<FetchedModel> FetchAsync(string model, EngineArgumentValues engine, CancellationToken cancellationToken)
    {
        var started = _time.GetTimestamp();
        var withWeights = engine.DownloadFolder is null && !OwnWeights.Contains(engine.LoadFormat);
        LogBegin(_logger, model, engine.Revision ?? "main", withWeights ? "model" : "description of the model");
        _isFetching = true;
        var fetch = _arguments.Engine.FetchAsync(
            new ModelRequest(model, engine.Revision, engine.LoadFormat, withWeights),
            cancellationToken
        );
        var fetched = await EndAsync(fetch).ConfigureAwait(false);
        LogEnd(_logger, model, fetched.Folder, ProgressText(), _time.GetElapsedTime(started).TotalSeconds);
        return fetched;
    }

    private async Task<FetchedModel> EndAsync(Task<FetchedModel> fetch)
    {
        await ((Task)fetch).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _isFetching = fetch.IsCanceled; // the guest goes on with it until the process ends
        return await fetch.ConfigureAwait(false);
    }

    private string ProgressText() => _arguments.Engine.Fetched is { } progress ? StartTexts.Fetched(progress) : "nothing fetched";

    [LoggerMessage(EventId = 5030, Level = LogLevel.Information, Message = "Fetching {Model} at revision {Revision}: the {What}")]
    private static partial void LogBegin(ILogger logger, string model, string revision, string what);

    [LoggerMessage(EventId = 5032, Level = LogLevel.Information, Message = "{Model} is in {Folder}: {Progress}, {Seconds:F1} s")]
    private static partial void LogEnd(ILogger logger, string model, string folder, string progress, double seconds);

    [LoggerMessage(
        EventId = 5033,
        Level = LogLevel.Warning,
        Message = "The fetch of {Model} is cut off: whole files stay for the next start, {Count} that were being written are removed"
    )]
    private static partial void LogCutOff(ILogger logger, string model, int count);
}
