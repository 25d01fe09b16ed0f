using System.Collections.Immutable;
using System.Globalization;
using Dynamo.Vllm.Core.Lifecycle;
using Dynamo.Vllm.Worker.Stages;

namespace Dynamo.Vllm.Worker.StartUp;

/// <summary>How far the start is: which part of it is under way, for how long, and what is known of its rest. The one source of what the
/// log, the service manager, the status page and <c>dynamo_vllm_start_phase_seconds</c> say of it.</summary>
/// <remarks>
/// It only looks on. Stages and vLLM's lines are noted where they happen, with their time; one loop on the pool, each second, finds out the
/// rest and writes to the log. What cannot be known is not told: bytes are those that the system counts as read from disks, which are none
/// where a model is still in memory from the last start.
/// </remarks>
internal sealed partial class StartProgress : IDisposable
{
    /// <summary>Between two lines about the same phase.</summary>
    private static readonly TimeSpan LineInterval = TimeSpan.FromSeconds(10);

    private static readonly TimeSpan LookInterval = TimeSpan.FromSeconds(1);

    /// <summary>The table of all processes of the host is read for it.</summary>
    private static readonly TimeSpan ReadInterval = TimeSpan.FromSeconds(5);

    private readonly StageSequence _stages;
    private readonly IStartSource _source;
    private readonly LoadSteps _steps;
    private readonly EngineErrors _errors = new();
    private readonly TimeProvider _time;
    private readonly ILogger<StartProgress> _logger;
    private readonly LoopSupervisor _loops;

    /// <summary>True: every stage is up.</summary>
    private readonly TaskCompletionSource<bool> _over = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private ImmutableList<(string Stage, long Since)> _begun = [];
    private volatile Known? _known;
    private long _ended;

    // The loop's own.
    private int _told;
    private long _toldLast;
    private long? _checkpoint;
    private long? _read;
    private long? _readBefore;
    private long _readLast;

    public StartProgress(
        StageSequence stages,
        IStartSource source,
        TimeProvider time,
        LoopPulses pulses,
        ILogger<StartProgress> logger,
        ILogger<LoopSupervisor> loopLogger
    )
    {
        _stages = stages;
        _source = source;
        _steps = new LoadSteps(time);
        _time = time;
        _logger = logger;
        _loops = new LoopSupervisor(_ => { }, pulses, time, loopLogger);
    }

    /// <summary>How far it is; null before it, and once it is over.</summary>
    public StartState? Now
    {
        get
        {
            var phases = Phases();
            if (Volatile.Read(ref _ended) != 0 || phases.Count == 0)
            {
                return null;
            }

            var last = phases[^1];
            var detail = _known is { } known && known.Since == last.Since ? known.Detail : null;
            return new StartState(last.Name, Math.Round(_time.GetElapsedTime(last.Since).TotalSeconds, 1), detail);
        }
    }

    /// <summary>What a process of the engine ended with during the start; null if none has told.</summary>
    public string? EngineError => _errors.First;

    /// <summary>How long each phase has taken up to now, in their order. Stages that take no second are left out.</summary>
    public IReadOnlyList<(string Phase, TimeSpan Elapsed)> Durations()
    {
        var phases = Phases();
        var end = Volatile.Read(ref _ended) is not 0 and var ended ? ended : _time.GetTimestamp();
        return
        [
            .. phases
                .Select((phase, i) => (phase, Elapsed: _time.GetElapsedTime(phase.Since, i + 1 < phases.Count ? phases[i + 1].Since : end)))
                .Where(pair => pair.phase.IsLong || pair.Elapsed >= LookInterval)
                .Select(pair => (pair.phase.Name, pair.Elapsed)),
        ];
    }

    /// <summary>Before the first stage.</summary>
    public void Begin()
    {
        _stages.Moved += OnMoved;
        _source.Show(line =>
        {
            _steps.Take(line);
            _errors.Take(line);
        });
        _loops.Start("progress of the start", LoopRule.Restart, RunAsync);
    }

    public void Dispose() => _loops.Dispose();

    private static string TextOf((string Phase, TimeSpan Elapsed) taken) =>
        string.Create(CultureInfo.InvariantCulture, $"{taken.Phase} {taken.Elapsed.TotalSeconds:F1} s");

    private static string NameOf(LoadPhase phase) =>
        phase switch
        {
            LoadPhase.Weights => "weights",
            LoadPhase.Memory => "memory profile",
            LoadPhase.Compilation => "compilation",
            LoadPhase.WarmUp => "warm-up",
            LoadPhase.FrontEnd => "front end",
            _ => "engine processes",
        };

    private List<StartPhase> Phases()
    {
        var phases = new List<StartPhase>();
        foreach (var (stage, since) in Volatile.Read(ref _begun))
        {
            var isEngine = stage == EngineStage.StageName;
            var isLong = isEngine || stage is EngineArgumentsStage.StageName or ModelStage.StageName;
            phases.Add(new StartPhase(isEngine ? NameOf(LoadPhase.Processes) : stage, since, isLong));
            if (isEngine)
            {
                phases.AddRange(_steps.Begun.Select(step => new StartPhase(NameOf(step.Phase), step.Since, true)));
            }
        }

        return phases;
    }

    private void OnMoved()
    {
        if (_stages.Position is { Phase: StagePhase.Starting, Stage: { } stage })
        {
            ImmutableInterlocked.Update(ref _begun, (begun, added) => begun.Add(added), (stage.Name, _time.GetTimestamp()));
        }
        else
        {
            // Every stage is up, or those that began go down: the start is over.
            _stages.Moved -= OnMoved;
            _source.Show(null);
            Interlocked.CompareExchange(ref _ended, _time.GetTimestamp(), 0);
            _over.TrySetResult(_stages.Position is { Phase: StagePhase.Up });
        }
    }

    private async Task RunAsync(CancellationToken cancellationToken)
    {
        using var timer = new PeriodicTimer(LookInterval, _time);
        do
        {
            Look();
            await Task.WhenAny(timer.WaitForNextTickAsync(cancellationToken).AsTask(), _over.Task).ConfigureAwait(false);
        } while (!_over.Task.IsCompleted && !cancellationToken.IsCancellationRequested);

        if (_over.Task is { IsCompletedSuccessfully: true, Result: true })
        {
            Look();
            LogEnd(_logger, string.Join(", ", Durations().Select(TextOf)));
        }
    }

    private void Look()
    {
        var phases = Phases();
        if (phases.Count > 0)
        {
            _known = new Known(phases[^1].Since, Detail());
            Tell(phases, _known.Detail);
        }
    }

    /// <summary>The begin of each phase, and every now and then that the last one still lasts.</summary>
    private void Tell(List<StartPhase> phases, string? detail)
    {
        for (; _told < phases.Count; _told++)
        {
            var phase = phases[_told];
            var isLast = _told + 1 == phases.Count;
            if (isLast && !phase.IsLong && _time.GetElapsedTime(phase.Since) < LookInterval)
            {
                return; // it may be over at once, and then nobody wants to know
            }

            if (phase.IsLong || isLast)
            {
                LogPhase(_logger, phase.Name, _time.GetElapsedTime(phases[0].Since, phase.Since).TotalSeconds);
                _toldLast = phase.Since;
            }
        }

        if (Volatile.Read(ref _ended) == 0 && _time.GetElapsedTime(_toldLast) >= LineInterval)
        {
            _toldLast = _time.GetTimestamp();
            var text = detail is null ? "" : $", {detail}";
            LogLasts(_logger, phases[^1].Name, _time.GetElapsedTime(phases[^1].Since).TotalSeconds, text);
        }
    }

    private string? Detail()
    {
        switch (Volatile.Read(ref _begun) is [.., var (stage, _)] ? stage : null)
        {
            case ModelStage.StageName:
                return _source.Fetched is { } fetched ? StartTexts.Fetched(fetched) : null;
            case EngineStage.StageName when _steps.Begun is [] or [.., (<= LoadPhase.Weights, _)]:
                _checkpoint ??= _source.CheckpointBytes ?? 0;
                ReadBytes();
                return StartTexts.Load(_steps.Detail, _checkpoint is > 0 ? _checkpoint : null, _read - _readBefore);
            case EngineStage.StageName:
                return _steps.Detail;
            default:
                return null;
        }
    }

    private void ReadBytes()
    {
        if (_read is null || _time.GetElapsedTime(_readLast) >= ReadInterval)
        {
            _read = _source.BytesRead;
            _readBefore ??= _read;
            _readLast = _time.GetTimestamp();
        }
    }

    [LoggerMessage(EventId = 5340, Level = LogLevel.Information, Message = "Start: {Phase}, after {Seconds:F1} s")]
    private static partial void LogPhase(ILogger logger, string phase, double seconds);

    [LoggerMessage(EventId = 5341, Level = LogLevel.Information, Message = "Start: {Phase}, for {Seconds:F0} s now{Detail}")]
    private static partial void LogLasts(ILogger logger, string phase, double seconds, string detail);

    [LoggerMessage(EventId = 5342, Level = LogLevel.Information, Message = "The start took {Phases}")]
    private static partial void LogEnd(ILogger logger, string phases);

    private sealed record Known(long Since, string? Detail);
}
