using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Lifecycle;
using Dynamo.Vllm.Engine.Processes;
using Dynamo.Vllm.Worker.Hosting;

namespace Dynamo.Vllm.Worker.Stages;

/// <summary>With <c>--headless</c>, in place of all that serves: vLLM's part of this node, in a process of its own.</summary>
/// <remarks>Nothing is registered. The process ends with the leader's, and this worker with it.</remarks>
internal sealed partial class HeadlessStage : IStage
{
    /// <summary>From SIGTERM to the end of vLLM's processes; then they are killed.</summary>
    private static readonly TimeSpan EndLimit = TimeSpan.FromSeconds(30);

    private readonly WorkerSettings _settings;
    private readonly EngineArgumentsStage _arguments;
    private readonly ModelStage _model;
    private readonly WorkerLifetime _lifetime;
    private readonly ILogger<HeadlessStage> _logger;
    private HeadlessNode? _node;
    private volatile bool _isStopping;

    public HeadlessStage(
        WorkerSettings settings,
        EngineArgumentsStage arguments,
        ModelStage model,
        WorkerLifetime lifetime,
        ILogger<HeadlessStage> logger
    )
    {
        _settings = settings;
        _arguments = arguments;
        _model = model;
        _lifetime = lifetime;
        _logger = logger;
    }

    public string Name => "headless node";

    public TimeSpan DownLimit => EndLimit;

    public Task UpAsync(CancellationToken cancellationToken)
    {
        // Objects are the leader's: what its scheduler publishes and measures.
        var overrides = new JsonObject(
            _arguments
                .Configuration.EngineOverrides.Where(pair => pair.Value is not JsonObject)
                .Select(pair => KeyValuePair.Create(pair.Key, pair.Value?.DeepClone()))
        );
        if (_model.EngineModel is { } folder)
        {
            overrides["model"] = folder;
        }

        _node = HeadlessNode.Start(
            _arguments.Python.Executable,
            _settings.Arguments.EngineArguments,
            overrides,
            _arguments.Configuration.EnvironmentChanges,
            _arguments.SimulatedPath
        );
        LogStarted(_logger, _node.Id);
        _ = WatchAsync(_node); // ends with the process
        return Task.CompletedTask;
    }

    public async Task DownAsync(StopCause cause)
    {
        _isStopping = true;
        if (_node is { } node)
        {
            await node.EndAsync(EndLimit).ConfigureAwait(false);
        }

        ChildProcesses.KillAll();
    }

    private async Task WatchAsync(HeadlessNode node)
    {
        var code = await node.Ended.ConfigureAwait(false);
        if (!_isStopping)
        {
            _lifetime.Fail($"vLLM's process of this headless node has ended with exit code {code}");
        }
    }

    [LoggerMessage(
        EventId = 5140,
        Level = LogLevel.Information,
        Message = "Headless node: vLLM runs as process {Id}; nothing is served here"
    )]
    private static partial void LogStarted(ILogger logger, int id);
}
