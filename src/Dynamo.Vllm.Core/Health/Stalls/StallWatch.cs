using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Lifecycle;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.Errors;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Core.Health.Stalls;

/// <summary>Notices an engine that hangs, and takes its callers away from it step by step (docs/reliability.md, "A hung engine").</summary>
/// <remarks>
/// 1. In each interval without a step the engine process itself is asked for a sign of life, by a call
/// that it answers between two steps, also while it is idle, paused or asleep. 2. <see cref="StallJudge"/>
/// weighs the silence. 3. Suspect: not ready, out of discovery, new requests are turned away.
/// 4. Released: running requests end with the error that lets the frontend continue them elsewhere. 5. Given up: <see cref="RunAsync"/>
/// ends. A sign of life undoes 3 at any time before 5. One loop.
/// </remarks>
public sealed partial class StallWatch
{
    /// <summary>The store may hang as well; what it did not hear is told to it at the next change.</summary>
    private static readonly TimeSpan DiscoveryTimeLimit = TimeSpan.FromSeconds(5);

    private readonly IEngine _engine;
    private readonly IEngineActivitySource _activity;
    private readonly ExpectedSilence _silence;
    private readonly StallLimits _limits;
    private readonly HealthState _health;
    private readonly WorkerRegistration _registration;
    private readonly ServedEndpoint _generate;
    private readonly TimeProvider _time;
    private readonly ILogger<StallWatch> _logger;
    private readonly StallJudge _judge;
    private Task _visibility = Task.CompletedTask;

    /// <param name="engine">Asked and, if need be, relieved of its requests.</param>
    /// <param name="activity">What the kernel says of it.</param>
    /// <param name="silence">When silence means nothing.</param>
    /// <param name="limits">When silence means something.</param>
    /// <param name="health">Told of the suspicion.</param>
    /// <param name="registration">Where <paramref name="generate"/> is hidden.</param>
    /// <param name="generate">The endpoint whose requests need the engine.</param>
    /// <param name="time">Clock.</param>
    /// <param name="logger">Log.</param>
    public StallWatch(
        IEngine engine,
        IEngineActivitySource activity,
        ExpectedSilence silence,
        StallLimits limits,
        HealthState health,
        WorkerRegistration registration,
        ServedEndpoint generate,
        TimeProvider time,
        ILogger<StallWatch> logger
    )
    {
        _engine = engine;
        _activity = activity;
        _silence = silence;
        _limits = limits;
        _health = health;
        _registration = registration;
        _generate = generate;
        _time = time;
        _logger = logger;
        _judge = new StallJudge(limits);
    }

    /// <summary>Runs until cancelled or until the engine must be given up.</summary>
    /// <returns>Why the process has to end, or null when cancelled.</returns>
    public async Task<string?> RunAsync(LoopPulse pulse, CancellationToken cancellationToken)
    {
        if (_limits.IsOff)
        {
            return null;
        }

        var steps = _engine.Steps;
        var answers = new SignsOfLife(_engine.Control);
        var last = _time.GetTimestamp();
        using var timer = new PeriodicTimer(_limits.Interval, _time);
        pulse.Beat(_limits.Interval + LoopPulse.Tolerance);
        try
        {
            while (await timer.WaitForNextTickAsync(cancellationToken))
            {
                pulse.Beat(_limits.Interval + LoopPulse.Tolerance);
                var now = _time.GetTimestamp();
                var hasStepped = _engine.Steps != steps;
                steps = _engine.Steps;
                var observation = new StallObservation(
                    _time.GetElapsedTime(last, now),
                    hasStepped | answers.HasEngineAnswered(),
                    steps != 0,
                    answers.HasInterpreterAnswered(),
                    _silence.IsExpected,
                    _activity.Read()
                );
                last = now;
                if (Act(observation) is { } fatal)
                {
                    return fatal;
                }

                answers.Ask(isNeeded: !hasStepped, cancellationToken);
            }
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            // Normal stop.
        }

        return null;
    }

    private string? Act(in StallObservation observation)
    {
        var before = _judge.Stage;
        var silence = _judge.Silence;
        var stage = _judge.Observe(observation);
        if (stage == before)
        {
            return null;
        }

        var text = $"the engine {_judge.Kind} and has been silent for {_judge.Silence.TotalSeconds:0} s";
        if (stage == StallStage.None)
        {
            Recover(silence);
            return null;
        }

        if (before == StallStage.None)
        {
            Suspect(text);
        }

        if (stage >= StallStage.Released && before < StallStage.Released)
        {
            LogReleased(_logger, _engine.RunningRequests, text);
            _engine.ReleaseRequests(DynamoError.EngineShutdown($"The engine of this worker does not answer: {text}."));
        }

        if (stage != StallStage.GivenUp)
        {
            return null;
        }

        _health.Fault = text;
        LogGivenUp(_logger, text);
        return text;
    }

    private void Suspect(string text)
    {
        LogSuspect(_logger, text, _engine.RunningRequests, _limits.GiveUp.TotalSeconds);
        _health.Suspicion = text;
        _generate.TurnAway = DynamoError.WorkerUnavailable($"The engine of this worker does not answer: {text}.");
        ChangeVisibility(token => _registration.HideAsync(_generate, HiddenReasons.EngineSuspect, token));
    }

    private void Recover(TimeSpan silence)
    {
        LogRecovered(_logger, silence.TotalSeconds);
        _health.Suspicion = null;
        _generate.TurnAway = null;
        ChangeVisibility(token => _registration.ShowAsync(_generate, HiddenReasons.EngineSuspect, token));
    }

    /// <summary>In order, and never awaited by the watch: a store that hangs must not keep it from releasing requests.</summary>
    private void ChangeVisibility(Func<CancellationToken, Task> change) => _visibility = ChangeVisibilityAsync(_visibility, change);

    private async Task ChangeVisibilityAsync(Task before, Func<CancellationToken, Task> change)
    {
        await before;
        try
        {
            using var limit = new CancellationTokenSource(DiscoveryTimeLimit, _time);
            await change(limit.Token);
        }
        catch (WorkerLeavingException)
        {
            // It stays away.
        }
        catch (Exception exception)
        {
            // Loop supervision (style E3): the registration has noted what is wanted and brings it about with its next change.
            LogCannotTellDiscovery(_logger, exception);
        }
    }
}
