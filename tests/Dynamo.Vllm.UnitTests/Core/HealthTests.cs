using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Health;
using Microsoft.Extensions.Logging.Abstractions;

namespace Dynamo.Vllm.UnitTests.Core;

public sealed class HealthTests
{
    private readonly SignallingTime _time = new();

    [Fact]
    public void An_endpoint_with_a_payload_is_ready_at_once_without_canary_and_after_proof_with_it()
    {
        var plain = new HealthState(canaryEnabled: false, startsReady: false, _time);
        plain.AddEndpoint("generate", hasPayload: true);
        Assert.True(plain.IsReady);
        var proven = new HealthState(canaryEnabled: true, startsReady: false, _time);
        proven.AddEndpoint("generate", hasPayload: true);
        Assert.False(proven.IsReady);
        proven.Report("generate", isReady: true);
        Assert.True(proven.IsReady);
    }

    [Fact]
    public void Without_payloads_the_starting_status_counts() =>
        Assert.Equal([false, true], new[] { false, true }.Select(startsReady => new HealthState(canaryEnabled: false, startsReady, _time).IsReady));

    [Fact]
    public void A_hold_is_not_ready_but_live_and_a_fault_is_neither()
    {
        var health = new HealthState(canaryEnabled: false, startsReady: true, _time);
        health.Hold(true);
        Assert.False(health.IsReady);
        Assert.True(health.IsLive);
        health.Hold(false);
        health.Fault = "stalled";
        Assert.False(health.IsReady);
        Assert.False(health.IsLive);
    }

    [Fact]
    public async Task A_stall_is_reported_and_then_fatal_and_a_pause_is_no_stall()
    {
        var engine = new ScriptedEngine { RunningRequests = 1, LastProgress = _time.GetTimestamp() };
        var health = new HealthState(canaryEnabled: false, startsReady: true, _time);
        var options = new EngineMonitorOptions { Interval = TimeSpan.FromSeconds(1), StallTimeout = TimeSpan.FromSeconds(5) };
        var monitor = new EngineMonitor(engine, options, health, _time, NullLogger<EngineMonitor>.Instance) { IsPaused = true };
        var run = monitor.RunAsync(default);
        await _time.ArmedAsync();
        await StepAsync(run, TimeSpan.FromSeconds(30));
        Assert.True(health.IsLive);
        engine.LastProgress = _time.GetTimestamp();
        monitor.IsPaused = false;
        await AdvanceUntil(run, () => !health.IsLive, TimeSpan.FromSeconds(7));
        Assert.False(run.IsCompleted);
        engine.LastProgress = _time.GetTimestamp();
        await AdvanceUntil(run, () => health.IsLive, TimeSpan.FromSeconds(3));
        await AdvanceUntil(run, () => run.IsCompleted, TimeSpan.FromSeconds(12));
        Assert.Contains("made no step", await run, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_dead_engine_ends_the_monitor_with_its_reason()
    {
        var engine = new ScriptedEngine();
        var monitor = new EngineMonitor(engine, new EngineMonitorOptions(), new HealthState(false, true, _time), _time, NullLogger<EngineMonitor>.Instance);
        var run = monitor.RunAsync(default);
        engine.Die("core died");
        Assert.Equal("core died", await run);
    }

    [Fact]
    public async Task A_failed_health_check_is_fatal()
    {
        var engine = new ScriptedEngine { OnCall = _ => throw new EngineCallException("engine_dead", "EngineDeadError", "gone") };
        var monitor = new EngineMonitor(engine, new EngineMonitorOptions(), new HealthState(false, true, _time), _time, NullLogger<EngineMonitor>.Instance);
        Assert.Contains("EngineDeadError", await monitor.RunAsync(default), StringComparison.Ordinal);
    }

    private async Task AdvanceUntil(Task run, Func<bool> condition, TimeSpan limit)
    {
        for (var left = limit; left > TimeSpan.Zero && !condition(); left -= TimeSpan.FromSeconds(1))
        {
            await StepAsync(run, TimeSpan.FromSeconds(1));
        }

        Assert.True(condition());
    }

    /// <summary>Lets time pass, and the loop come back to its wait or end.</summary>
    private async Task StepAsync(Task run, TimeSpan time)
    {
        _time.Advance(time);
        await await Task.WhenAny(run, _time.ArmedAsync());
    }
}
