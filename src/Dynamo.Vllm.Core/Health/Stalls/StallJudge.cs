using System.Globalization;

namespace Dynamo.Vllm.Core.Health.Stalls;

/// <summary>Decides from a row of observations how silent an engine is and
/// what kind of silence it is. No clock, no I/O; one caller.</summary>
/// <remarks>
/// Three sums grow while nothing is heard: the silence itself; the part of it in which the engine
/// was frozen without a break; and the part in which it computed with no excuse. Each has limits
/// of its own, the strictest one that is passed decides, and a sign of life clears all three.
/// </remarks>
public sealed class StallJudge
{
    /// <summary>An engine process that waits for events uses less than a thousandth
    /// of a core; one that is starved still gets more than this.</summary>
    private const double IdleShare = 0.005;

    /// <summary>Compilers that get less than this are not what the engine waits for.</summary>
    private const double CompilingShare = 0.1;

    /// <summary>What one interval may add to a silence: a worker that was stopped itself has not listened meanwhile.</summary>
    private const double IntervalsMax = 2;

    /// <summary>Kept of the slowest step at each sign of life: after a minute of steps a third of it.</summary>
    private const double SlownessKept = 0.98;

    private readonly StallLimits _limits;
    private EngineActivity? _before;
    private TimeSpan _silence;
    private TimeSpan _frozen;
    private TimeSpan _busy;
    private TimeSpan _slowestStep;

    public StallJudge(StallLimits limits) => _limits = limits;

    public StallStage Stage { get; private set; }

    public TimeSpan Silence => _silence;

    /// <summary>What the silence looks like, for operators.</summary>
    public string Kind { get; private set; } = "";

    public StallStage Observe(in StallObservation observation)
    {
        var before = _before;
        _before = observation.Activity;
        if (observation.IsAlive)
        {
            NoteLife();
            return Stage;
        }

        var elapsed = observation.Elapsed < _limits.Interval * IntervalsMax ? observation.Elapsed : _limits.Interval * IntervalsMax;
        _silence += elapsed;
        if (IsFrozen(observation, before, elapsed))
        {
            _frozen += elapsed;
            Kind = observation.Activity!.Value.IsStopped ? "is stopped" : "uses neither CPU nor GPU";
        }
        else
        {
            _frozen = TimeSpan.Zero;
            Excuse(observation, before, elapsed);
        }

        Stage = Later(Stage, Judge());
        return Stage;
    }

    private void NoteLife()
    {
        // A silence that was held against the engine says nothing about its usual steps.
        var step = Stage == StallStage.None && _frozen == TimeSpan.Zero ? _silence : TimeSpan.Zero;
        _slowestStep = step > _slowestStep * SlownessKept ? step : _slowestStep * SlownessKept;
        (_silence, _frozen, _busy, Stage, Kind) = (TimeSpan.Zero, TimeSpan.Zero, TimeSpan.Zero, StallStage.None, "");
    }

    private bool IsFrozen(in StallObservation observation, EngineActivity? before, TimeSpan elapsed)
    {
        if (observation.Activity is not { } now)
        {
            return false;
        }

        if (now.IsStopped)
        {
            return true;
        }

        // An engine that waits for an interpreter which does not run is idle for a good reason.
        if (!observation.IsInterpreterAlive || before is not { } then || now.IsRunnable || now.IsGpuBusy == true)
        {
            return false;
        }

        return now.EngineCpu + now.HelperCpu - then.EngineCpu - then.HelperCpu < elapsed * IdleShare;
    }

    private void Excuse(in StallObservation observation, EngineActivity? before, TimeSpan elapsed)
    {
        if (observation.IsExpected)
        {
            Kind = "is busy with a control call";
        }
        else if (!observation.HasStepped)
        {
            Kind = "has not made its first step";
        }
        else if (observation.Activity is { } now && before is { } then && now.HelperCpu - then.HelperCpu > elapsed * CompilingShare)
        {
            Kind = "compiles";
        }
        else
        {
            _busy += elapsed;
            Kind = observation switch
            {
                { Activity: null } => "says nothing",
                { IsInterpreterAlive: false } => "cannot be heard, since the interpreter does not answer",
                _ => "computes",
            };
        }
    }

    private StallStage Judge()
    {
        var slow = _slowestStep * _limits.StepMultiple;
        var busySuspect = Longest(_limits.BusySuspect, slow);
        var busyRelease = Longest(_limits.BusyRelease, slow * 2);
        if (_silence >= _limits.GiveUp)
        {
            return StallStage.GivenUp;
        }

        if (_frozen >= _limits.FrozenRelease || _busy >= busyRelease || _silence >= _limits.Stall * 1.5)
        {
            return StallStage.Released;
        }

        return _frozen >= _limits.FrozenSuspect || _busy >= busySuspect || _silence >= _limits.Stall ? StallStage.Suspect : StallStage.None;
    }

    private static TimeSpan Longest(TimeSpan left, TimeSpan right) => left > right ? left : right;

    private static StallStage Later(StallStage left, StallStage right) => left > right ? left : right;

    public override string ToString() =>
        string.Create(CultureInfo.InvariantCulture, $"{Stage} after {_silence.TotalSeconds:0.#} s: the engine {Kind}");
}
