using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Health;
using Dynamo.Vllm.Core.Lifecycle;
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
        Assert.Equal(
            [false, true],
            new[] { false, true }.Select(startsReady => new HealthState(canaryEnabled: false, startsReady, _time).IsReady)
        );

    [Fact]
    public void A_hold_or_a_suspicion_is_not_ready_but_live_and_a_fault_is_neither()
    {
        var health = new HealthState(canaryEnabled: false, startsReady: true, _time);
        health.Hold(true);
        Assert.False(health.IsReady);
        Assert.True(health.IsLive);
        health.Hold(false);
        health.Suspicion = "silent";
        Assert.False(health.IsReady);
        Assert.True(health.IsLive);
        health.Suspicion = null;
        health.Fault = "stalled";
        Assert.False(health.IsReady);
        Assert.False(health.IsLive);
    }

    [Fact]
    public void What_keeps_callers_away_is_not_ready_and_nothing_that_a_restart_would_mend()
    {
        string? hindrance = null;
        var health = new HealthState(canaryEnabled: false, startsReady: true, _time);
        health.AddHindrance(() => hindrance);
        Assert.True(health.IsReady);
        hindrance = "NATS is away";
        Assert.Equal((false, true, true), (health.IsReady, health.IsReadyItself, health.IsLive));
        health.Hold(true);
        Assert.False(health.IsReadyItself);
    }

    [Fact]
    public async Task A_dead_engine_ends_the_monitor_with_its_reason()
    {
        var engine = new ScriptedEngine();
        var monitor = new EngineMonitor(
            engine,
            new EngineMonitorOptions(),
            new HealthState(false, true, _time),
            _time,
            NullLogger<EngineMonitor>.Instance
        );
        var run = monitor.RunAsync(new LoopPulse("engine monitor", TimeProvider.System), default);
        engine.Die("core died");
        Assert.Equal("core died", await run);
    }

    [Fact]
    public async Task A_failed_health_check_is_fatal()
    {
        var engine = new ScriptedEngine
        {
            Control = { OnCall = _ => throw new EngineCallException("engine_dead", "EngineDeadError", "gone") },
        };
        var monitor = new EngineMonitor(
            engine,
            new EngineMonitorOptions(),
            new HealthState(false, true, _time),
            _time,
            NullLogger<EngineMonitor>.Instance
        );
        Assert.Contains(
            "EngineDeadError",
            await monitor.RunAsync(new LoopPulse("engine monitor", TimeProvider.System), default),
            StringComparison.Ordinal
        );
    }
}
