using Dynamo.Vllm.Core.Health;
using Dynamo.Vllm.Core.Lifecycle;
using Dynamo.Vllm.Worker.Control;
using Dynamo.Vllm.Worker.ServiceManager;
using Dynamo.Vllm.Worker.Stages;
using Dynamo.Vllm.Worker.StartUp;
using Dynamo.Vllm.Worker.StatusPort;
using Prometheus;

namespace Dynamo.Vllm.Worker.Hosting;

/// <summary>What <c>/health</c> and the status line say, as series: an alert
/// needs a number, and a probe's answer is nobody's history.</summary>
internal sealed class StateMetrics
{
    /// <summary>Less than any timestamp.</summary>
    private const long NoDrain = long.MinValue;

    private readonly MetricsPage _page;
    private readonly HealthState _health;
    private readonly StageSequence _stages;
    private readonly StatusLine _line;
    private readonly RegistrationStage _registration;
    private readonly Reload _reload;
    private readonly StartProgress _progress;
    private readonly TimeSpan _gracePeriod;
    private readonly TimeProvider _time;
    private long _drainBegan = NoDrain;

    public StateMetrics(
        MetricsPage page,
        HealthState health,
        StageSequence stages,
        StatusLine line,
        RegistrationStage registration,
        Reload reload,
        StartProgress progress,
        WorkerSettings settings,
        TimeProvider time
    )
    {
        _page = page;
        _health = health;
        _stages = stages;
        _line = line;
        _registration = registration;
        _reload = reload;
        _progress = progress;
        _gracePeriod = settings.Runtime.Shutdown.GracePeriod;
        _time = time;
    }

    /// <summary>How long this worker has been letting requests finish; zero while it does not.</summary>
    private TimeSpan Draining => Volatile.Read(ref _drainBegan) is > NoDrain and var began ? _time.GetElapsedTime(began) : TimeSpan.Zero;

    /// <summary>Shows the series from now on. Once.</summary>
    public void Begin()
    {
        var metrics = Metrics.WithCustomRegistry(_page.Worker);
        var ready = metrics.CreateGauge("dynamo_vllm_ready", "1 while /health answers 200");
        var state = metrics.CreateGauge("dynamo_vllm_worker_state", "1 for the state that the status line names, 0 for others", "state");
        var drain = metrics.CreateGauge(
            "dynamo_vllm_drain_seconds",
            "How long this worker has been letting requests finish, before a stop or in a reload; 0 while it does not"
        );
        var limit = metrics.CreateGauge(
            "dynamo_vllm_drain_limit_seconds",
            "How long requests may take for that: the grace period and the drain"
        );
        var aborted = metrics.CreateCounter(
            "dynamo_vllm_drain_aborted_requests_total",
            "Requests that were still running when the drain of a stop ended, and were aborted"
        );
        var start = metrics.CreateGauge(
            "dynamo_vllm_start_phase_seconds",
            "How long each phase of the start has taken so far; stages that take no second are left out",
            "phase"
        );
        _stages.Moved += OnMoved;
        _reload.Changed += OnReload;
        _page.Worker.AddBeforeCollectCallback(() =>
        {
            ready.Set(_health.IsReady ? 1 : 0);
            var now = _line.State;
            foreach (var each in Enum.GetValues<WorkerState>())
            {
                state.WithLabels(Word(each)).Set(each == now ? 1 : 0);
            }

            foreach (var (phase, elapsed) in _progress.Durations())
            {
                start.WithLabels(phase).Set(elapsed.TotalSeconds);
            }

            drain.Set(Draining.TotalSeconds);
            limit.Set((_gracePeriod + _registration.DrainLimit).TotalSeconds);
            aborted.IncTo(_registration.AbortedRequests);
        });
    }

    private static string Word(WorkerState state) =>
        state switch
        {
            WorkerState.Starting => "starting",
            WorkerState.Serving => "serving",
            WorkerState.Suspected => "suspected",
            WorkerState.GivenUp => "given_up",
            WorkerState.Unreachable => "unreachable",
            WorkerState.Reloading => "reloading",
            WorkerState.Stopping => "stopping",
            _ => "failed",
        };

    // A worker drains while this stage goes down, and what is below it has no requests.
    private void OnMoved() => Mark(_stages.Position is { Phase: StagePhase.Stopping, Stage: RegistrationStage });

    private void OnReload(bool isReloading) => Mark(isReloading);

    private void Mark(bool isDraining) => Volatile.Write(ref _drainBegan, isDraining ? _time.GetTimestamp() : NoDrain);
}
