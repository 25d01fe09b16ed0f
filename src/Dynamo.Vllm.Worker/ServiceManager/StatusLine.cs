using System.Globalization;
using Dynamo.Vllm.Core.Health;
using Dynamo.Vllm.Core.Lifecycle;
using Dynamo.Vllm.Worker.StartUp;

namespace Dynamo.Vllm.Worker.ServiceManager;

/// <summary>What the worker does, in the one line that <c>systemctl status</c> shows.</summary>
internal sealed class StatusLine
{
    /// <summary>A line of a terminal or two; what is longer stands in the log.</summary>
    public const int LengthMax = 300;

    private readonly StageSequence _stages;
    private readonly HealthState _health;
    private readonly Func<int> _running;
    private readonly Func<string> _serving;
    private readonly Func<StartState?> _start;
    private volatile string? _failure;
    private volatile bool _isReloading;

    /// <param name="stages">Where the worker is in its life.</param>
    /// <param name="health">How its engine does.</param>
    /// <param name="running">Requests that were accepted and have not ended.</param>
    /// <param name="serving">What is served and where. Asked for once every stage is up.</param>
    /// <param name="start">How far the start is.</param>
    public StatusLine(StageSequence stages, HealthState health, Func<int> running, Func<string> serving, Func<StartState?> start)
    {
        _stages = stages;
        _health = health;
        _running = running;
        _serving = serving;
        _start = start;
    }

    /// <summary>Why the worker could not start; from then on nothing else matters.</summary>
    public string? Failure
    {
        get => _failure;
        set => _failure = value;
    }

    public bool IsReloading
    {
        get => _isReloading;
        set => _isReloading = value;
    }

    public WorkerState State =>
        _stages.Position switch
        {
            _ when Failure is not null => WorkerState.Failed,
            null or { Phase: StagePhase.Starting } => WorkerState.Starting,
            _ when _health.Fault is not null => WorkerState.GivenUp,
            { Phase: StagePhase.Stopping or StagePhase.Down } => WorkerState.Stopping,
            _ when _health.Suspicion is not null => WorkerState.Suspected,
            _ when _isReloading => WorkerState.Reloading,
            _ => _health.Hindrance is null ? WorkerState.Serving : WorkerState.Unreachable,
        };

    public override string ToString()
    {
        var text = Text().ReplaceLineEndings(" ");
        return text.Length <= LengthMax ? text : string.Concat(text.AsSpan(0, LengthMax - 3), "...");
    }

    private string Text() =>
        _stages.Position switch
        {
            _ when Failure is { } failure => $"Failed to start: {failure}",
            null => "Starting",
            { Phase: StagePhase.Starting } position => Starting(position),
            { Phase: StagePhase.Up } => Serving(),
            { Phase: StagePhase.Stopping } position => Stopping(position.Stage!),
            _ => _health.Fault is { } fault ? $"Stopped: {fault}" : "Stopped",
        };

    private string Starting(StagePosition position)
    {
        var stage = $"Starting: {position.Stage!.Name} (stage {position.Number} of {position.Count})";
        if (_start() is not { Seconds: >= 1 } start)
        {
            return stage;
        }

        var phase = start.Phase == position.Stage.Name ? "" : $": {start.Phase}";
        var detail = start.Detail is null ? "" : $", {start.Detail}";
        return string.Create(CultureInfo.InvariantCulture, $"{stage}{phase}, {Math.Floor(start.Seconds)} s{detail}");
    }

    private string Serving()
    {
        if (_health.Fault is { } fault)
        {
            return $"Giving the engine up: {fault}";
        }

        if (_health.Suspicion is { } suspicion)
        {
            return $"Not ready, {_running()} requests running: {suspicion}";
        }

        if (_isReloading)
        {
            return $"Reloading: out of discovery until {_running()} running requests have ended";
        }

        return _health.Hindrance is { } hindrance ? $"Callers cannot reach this worker: {hindrance}" : $"Serving {_serving()}";
    }

    private string Stopping(IStage stage)
    {
        var running = _running();
        var text = running > 0 ? $"Stopping: draining, {running} requests left" : $"Stopping: {stage.Name}";
        return _health.Fault is { } fault ? $"{text}; the engine was given up: {fault}" : text;
    }
}
