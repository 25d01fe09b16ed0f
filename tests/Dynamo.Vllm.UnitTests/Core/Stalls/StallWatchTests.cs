using System.Text.Json;
using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Core.Health;
using Dynamo.Vllm.Core.Health.Stalls;
using Dynamo.Vllm.Core.Lifecycle;
using Dynamo.Vllm.Core.Metrics;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Testing.Relay;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;

namespace Dynamo.Vllm.UnitTests.Core.Stalls;

public sealed class StallWatchTests : IAsyncLifetime
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    private readonly FakeTimeProvider _time = new();
    private readonly ScriptedEngine _engine = new() { Steps = 1, RunningRequests = 1 };
    private readonly Activity _activity = new();
    private readonly HealthState _health;
    private readonly RecordingDiscovery _store = new();
    private readonly WorkerRegistration _registration;
    private readonly ServedEndpoint _generate;
    private readonly ExpectedSilence _silence = new();
    private readonly LoopPulse _pulse;
    private readonly StallWatch _watch;
    private readonly SemaphoreSlim _lookedAt = new(0);
    private Task? _engineAnswer;
    private Task<string?> _run = Task.FromResult<string?>(null);

    public StallWatchTests()
    {
        _pulse = new LoopPulse("stall watch", _time);
        _health = new HealthState(canaryEnabled: false, startsReady: true, _time);
        _registration = new WorkerRegistration(
            _store,
            new RequestPlaneFake(),
            "cpu",
            PayloadCodec.MessagePack,
            TimeProvider.System,
            NullLogger<WorkerRegistration>.Instance,
            new InstanceId(1)
        );
        _generate = Endpoints.Create();
        _engine.Control.OnCallAsync = call =>
        {
            if (call == "RoundTrip")
            {
                return _engineAnswer ?? Task.CompletedTask;
            }

            _lookedAt.Release(); // the interpreter is asked last, in every interval without a step
            return Task.CompletedTask;
        };
        _watch = new StallWatch(
            _engine,
            _activity,
            _silence,
            new StallLimits(),
            _health,
            _registration,
            _generate,
            _time,
            NullLogger<StallWatch>.Instance
        );
    }

    public Task InitializeAsync() => _registration.ServeAsync(_generate, default);

    public async Task DisposeAsync() => await _registration.DisposeAsync();

    [Fact]
    public async Task A_frozen_engine_loses_its_callers_step_by_step_and_in_the_end_the_process()
    {
        (_engineAnswer, _activity.IsStopped) = (new TaskCompletionSource().Task, true);
        _run = _watch.RunAsync(_pulse, default);
        await PassAsync(3);
        Assert.True(_health.IsReady);
        await PassAsync(2);
        Assert.False(_health.IsReady);
        Assert.True(_health.IsLive);
        Assert.Equal("backend.worker_unavailable", _generate.TurnAway?.Reason);
        Assert.Empty(_store.Records);
        Assert.Null(_engine.Released);
        await PassAsync(4);
        Assert.Equal("backend.engine_shutdown", _engine.Released?.Reason);
        await PassAsync(112);
        Assert.Contains("is stopped and has been silent for 120 s", await _run.WaitAsync(Limit), StringComparison.Ordinal);
        Assert.False(_health.IsLive);
    }

    [Fact]
    public async Task An_answer_of_the_engine_brings_the_worker_back()
    {
        var answer = new TaskCompletionSource();
        _engineAnswer = answer.Task;
        _activity.IsStopped = true;
        using var stop = new CancellationTokenSource();
        _run = _watch.RunAsync(_pulse, stop.Token);
        await PassAsync(60);
        Assert.False(_health.IsReady);
        await Task.Run(() => answer.SetResult()); // its continuations run within, since no context of the test is there
        await PassAsync(2);
        Assert.True(_health.IsReady);
        Assert.Null(_generate.TurnAway);
        Assert.Single(_store.Records);
        await stop.CancelAsync();
        Assert.Null(await _run.WaitAsync(Limit));
    }

    [Fact]
    public async Task An_engine_that_answers_and_makes_no_step_is_not_suspected()
    {
        // Idle, paused, asleep, or waiting for blocks of a prefill worker.
        _activity.IsStopped = false;
        _run = _watch.RunAsync(_pulse, default);
        await PassAsync(300);
        Assert.True(_health.IsReady);
        Assert.Null(_engine.Released);
    }

    [Fact]
    public async Task It_is_heard_of_while_it_looks_and_late_when_it_stands_still()
    {
        _run = _watch.RunAsync(_pulse, default);
        await PassAsync(300);
        Assert.False(_pulse.IsLate);
        _activity.Reading = () => throw new InvalidDataException("no more looks");
        _time.Advance(TimeSpan.FromSeconds(1));
        await Assert.ThrowsAsync<InvalidDataException>(() => _run.WaitAsync(Limit));
        _time.Advance(TimeSpan.FromSeconds(12));
        Assert.True(_pulse.IsLate);
    }

    [Fact]
    public async Task What_a_control_call_takes_is_not_held_against_the_engine()
    {
        (_engineAnswer, _activity.IsRunnable) = (new TaskCompletionSource().Task, true);
        _run = _watch.RunAsync(_pulse, default);
        using (_silence.Expect())
        {
            await PassAsync(50);
            Assert.True(_health.IsReady);
        }

        await PassAsync(10);
        Assert.False(_health.IsReady);
    }

    [Fact]
    public async Task A_store_that_hangs_keeps_nobody_from_being_released()
    {
        _store.BeforeRemoval = token => Task.Delay(Timeout.Infinite, token);
        (_engineAnswer, _activity.IsStopped) = (new TaskCompletionSource().Task, true);
        _run = _watch.RunAsync(_pulse, default);
        await PassAsync(10);
        Assert.NotNull(_engine.Released);
    }

    /// <summary>Second by second, each one worked off before the next.</summary>
    private async Task PassAsync(int seconds)
    {
        for (var second = 0; second < seconds && !_run.IsCompleted; second++)
        {
            _time.Advance(TimeSpan.FromSeconds(1));
            await Task.WhenAny(_lookedAt.WaitAsync(), _run).WaitAsync(Limit);
        }
    }

    private sealed class Activity : IEngineActivitySource
    {
        public bool IsStopped { get; set; }

        public bool IsRunnable { get; set; }

        /// <summary>Called at each look.</summary>
        public Action? Reading { get; set; }

        public EngineActivity? Read()
        {
            Reading?.Invoke();
            return new EngineActivity(IsStopped, IsRunnable, TimeSpan.Zero, TimeSpan.Zero, IsGpuBusy: null);
        }
    }
}
