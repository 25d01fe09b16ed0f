using Dynamo.Vllm.Core.Health;
using Dynamo.Vllm.Core.Lifecycle;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.UnitTests.Core;
using Dynamo.Vllm.UnitTests.Core.Lifecycle;
using Dynamo.Vllm.Worker.ServiceManager;
using Microsoft.Extensions.Logging.Abstractions;

namespace Dynamo.Vllm.UnitTests.Worker.ServiceManager;

public sealed class ServiceReportTests : IAsyncDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);
    private static readonly StopCause Asked = new(StopKind.Asked, "asked");

    private readonly SignallingTime _time = new();
    private readonly NotifierFake _notifier = new();
    private readonly HealthState _health;
    private readonly LoopPulses _pulses;
    private readonly StageSequence _stages;
    private readonly ServiceReport _report;
    private readonly TaskCompletionSource _loads = new();
    private readonly TaskCompletionSource _drains = new();
    private int _running;

    public ServiceReportTests()
    {
        _health = new HealthState(canaryEnabled: false, startsReady: true, _time);
        _pulses = new LoopPulses(_time);
        _stages = new StageSequence(
            [new StageFake("status server", []), new StageFake("engine", []) { Up = _ => _loads.Task, Down = () => _drains.Task }],
            _time,
            NullLogger<StageSequence>.Instance
        );
        var status = new StatusLine(
            _stages,
            _health,
            () => _running,
            () => "tiny as dynamo.backend.generate at tcp 127.0.0.1:4000",
            () => null
        );
        _report = new ServiceReport(
            _notifier,
            _stages,
            status,
            new StartPatience(() => null, TimeSpan.FromSeconds(120), _time),
            _health,
            _pulses,
            new WatchdogSetting(TimeSpan.FromSeconds(10)),
            _time,
            NullLogger<LoopSupervisor>.Instance
        );
    }

    public async ValueTask DisposeAsync()
    {
        await _report.EndAsync();
        _report.Dispose();
    }

    [Fact]
    public async Task A_life_is_told_in_its_order()
    {
        _report.Begin();
        var up = _stages.UpAsync(default);
        await SaidAsync("STATUS=Starting: engine (stage 2 of 2)");
        await TickAsync("EXTEND_TIMEOUT_USEC=15000000", isNew: false);
        Assert.DoesNotContain("READY=1", _notifier.Messages);
        _loads.SetResult();
        await up.WaitAsync(Limit);
        _report.Ready();
        Assert.Equal(["STATUS=Serving tiny as dynamo.backend.generate at tcp 127.0.0.1:4000", "READY=1"], Told.TakeLast(2));

        _notifier.Forget();
        _running = 3;
        var down = _stages.DownAsync(Asked);
        await SaidAsync("STATUS=Stopping: draining, 3 requests left");
        Assert.Equal("STOPPING=1", Told[0]);
        _report.Stopping(); // as the host does, too
        Assert.Single(_notifier.Messages, message => message == "STOPPING=1");
        await TickAsync("EXTEND_TIMEOUT_USEC=15000000");
        _running = 1;
        await TickAsync("STATUS=Stopping: draining, 1 requests left");
        _running = 0;
        _drains.SetResult();
        await down.WaitAsync(Limit);
        Assert.Equal("STATUS=Stopped", Told[^1]);
    }

    [Fact]
    public async Task Signs_of_life_come_until_the_engine_is_given_up_and_while_no_loop_stands_still()
    {
        var pulse = _pulses.Add("stall watch");
        pulse.Beat(TimeSpan.FromDays(1));
        _report.Begin();
        await SaidAsync("WATCHDOG=1");
        await TickAsync("WATCHDOG=1");

        pulse.Beat(TimeSpan.FromSeconds(-1));
        Assert.False(await TicksSayAsync("WATCHDOG=1"));
        pulse.Rest();
        await TickAsync("WATCHDOG=1");

        _health.Suspicion = "it may come back";
        await TickAsync("WATCHDOG=1");
        _health.Fault = "it does not";
        Assert.False(await TicksSayAsync("WATCHDOG=1"));
    }

    [Fact]
    public async Task A_suspected_engine_is_in_the_status_until_it_answers()
    {
        _loads.SetResult();
        _report.Begin();
        await _stages.UpAsync(default).WaitAsync(Limit);
        _report.Ready();
        _notifier.Forget(); // not after the change: a round of the loop that still runs may tell of it at once, and does so only once
        _health.Suspicion = "the engine is stopped and has been silent for 5 s";
        await TickAsync("STATUS=Not ready, 0 requests running: the engine is stopped and has been silent for 5 s", isNew: false);
        _notifier.Forget();
        _health.Suspicion = null;
        await TickAsync("STATUS=Serving tiny as dynamo.backend.generate at tcp 127.0.0.1:4000", isNew: false);
    }

    [Fact]
    public async Task A_reload_is_framed_and_waited_for()
    {
        _loads.SetResult();
        _report.Begin();
        await _stages.UpAsync(default).WaitAsync(Limit);
        _report.Ready();
        _notifier.Forget();
        _running = 2;
        _report.Reloading(true);
        Assert.Matches(@"^RELOADING=1\nMONOTONIC_USEC=\d+$", Told[0]);
        Assert.Contains("STATUS=Reloading: out of discovery until 2 running requests have ended", _notifier.Messages);
        await TickAsync("EXTEND_TIMEOUT_USEC=15000000");
        _report.Reloading(false);
        Assert.Equal("READY=1", Told[^1]);
    }

    [Fact]
    public void A_reload_that_a_stop_has_overtaken_says_nothing()
    {
        _report.Stopping();
        _report.Reloading(false);
        Assert.Equal(["STOPPING=1"], _notifier.Messages);
    }

    [Fact]
    public void A_failed_start_leaves_its_reason_in_one_line_of_bounded_length()
    {
        _report.Failed("ValueError: no\nsuch model " + new string('x', 1000));
        var status = Assert.Single(_notifier.Messages);
        Assert.StartsWith("STATUS=Failed to start: ValueError: no such model xxx", status, StringComparison.Ordinal);
        Assert.Equal("STATUS=".Length + StatusLine.LengthMax, status.Length);
    }

    /// <summary>Without what the loop says at any moment of its round.</summary>
    private List<string> Told => [.. _notifier.Messages.Where(message => message != "WATCHDOG=1")];

    private Task SaidAsync(string message) =>
        Polling.UntilAsync($"not said: {message}", Limit, () => Task.FromResult(_notifier.Messages.Contains(message)));

    /// <summary>Lets seconds pass until the message comes.</summary>
    private async Task TickAsync(string message, bool isNew = true)
    {
        if (isNew)
        {
            _notifier.Forget();
        }

        await Polling.UntilAsync(
            $"not said: {message}",
            Limit,
            () =>
            {
                _time.Advance(TimeSpan.FromSeconds(1));
                return Task.FromResult(_notifier.Messages.Contains(message));
            }
        );
    }

    /// <summary>Whether it comes in a round of the loop that began after the call.</summary>
    private async Task<bool> TicksSayAsync(string message)
    {
        for (var round = 0; round < 2; round++)
        {
            _time.Advance(TimeSpan.FromSeconds(1));
            await Task.Delay(TimeSpan.FromMilliseconds(200)); // that nothing comes has no event
            if (round == 0)
            {
                _notifier.Forget();
            }
        }

        return _notifier.Messages.Contains(message);
    }
}
