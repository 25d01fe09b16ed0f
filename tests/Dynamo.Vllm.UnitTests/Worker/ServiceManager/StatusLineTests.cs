using Dynamo.Vllm.Core.Health;
using Dynamo.Vllm.Core.Lifecycle;
using Dynamo.Vllm.UnitTests.Core.Lifecycle;
using Dynamo.Vllm.Worker.ServiceManager;
using Dynamo.Vllm.Worker.StartUp;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;

namespace Dynamo.Vllm.UnitTests.Worker.ServiceManager;

/// <summary>The state of the metrics and the line of <c>systemctl status</c> never say two things.</summary>
public sealed class StatusLineTests
{
    private readonly HealthState _health;
    private readonly StageSequence _stages;
    private readonly StatusLine _line;
    private readonly TaskCompletionSource _begins = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _loads = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private string? _hindrance;
    private StartState? _start;

    public StatusLineTests()
    {
        var time = new FakeTimeProvider();
        _health = new HealthState(canaryEnabled: false, startsReady: true, time);
        _health.AddHindrance(() => _hindrance);
        _stages = new StageSequence([new StageFake("engine", []) { Up = LoadAsync }], time, NullLogger<StageSequence>.Instance);
        _line = new StatusLine(_stages, _health, () => 2, () => "tiny", () => _start);
    }

    [Fact]
    public async Task Each_state_has_its_word_and_its_line()
    {
        AssertSays(WorkerState.Starting, "Starting");
        var up = _stages.UpAsync(default);
        await _begins.Task;
        AssertSays(WorkerState.Starting, "Starting: engine (stage 1 of 1)");
        _start = new StartState("weights", 0.9, null);
        AssertSays(WorkerState.Starting, "Starting: engine (stage 1 of 1)");
        _start = new StartState("weights", 12.9, "shards 1 of 4");
        AssertSays(WorkerState.Starting, "Starting: engine (stage 1 of 1): weights, 12 s, shards 1 of 4");
        _start = new StartState("engine", 2, null);
        AssertSays(WorkerState.Starting, "Starting: engine (stage 1 of 1), 2 s");
        _loads.SetResult();
        await up;
        AssertSays(WorkerState.Serving, "Serving tiny");

        _hindrance = "etcd is away";
        AssertSays(WorkerState.Unreachable, "Callers cannot reach this worker: etcd is away");
        _line.IsReloading = true;
        AssertSays(WorkerState.Reloading, "Reloading: out of discovery until 2 running requests have ended");
        _health.Suspicion = "silent";
        AssertSays(WorkerState.Suspected, "Not ready, 2 requests running: silent");
        _health.Suspicion = null;
        _line.IsReloading = false;
        _hindrance = null;
        AssertSays(WorkerState.Serving, "Serving tiny");

        await _stages.DownAsync(new StopCause(StopKind.Asked, "asked"));
        AssertSays(WorkerState.Stopping, "Stopped");
    }

    [Fact]
    public async Task An_engine_that_was_given_up_is_said_to_the_end()
    {
        _loads.SetResult();
        await _stages.UpAsync(default);
        _health.Fault = "dead";
        AssertSays(WorkerState.GivenUp, "Giving the engine up: dead");
        await _stages.DownAsync(new StopCause(StopKind.Fatal, "dead"));
        AssertSays(WorkerState.GivenUp, "Stopped: dead");
    }

    [Fact]
    public void A_start_that_failed_stays_failed()
    {
        _line.Failure = "no model";
        AssertSays(WorkerState.Failed, "Failed to start: no model");
    }

    private Task LoadAsync(CancellationToken cancellationToken)
    {
        _begins.SetResult();
        return _loads.Task;
    }

    private void AssertSays(WorkerState state, string line)
    {
        Assert.Equal(state, _line.State);
        Assert.Equal(line, _line.ToString());
    }
}
