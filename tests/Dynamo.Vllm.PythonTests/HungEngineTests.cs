using System.Text.Json.Nodes;
using Dynamo.Vllm.Engine.Processes;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Transports.Client;

namespace Dynamo.Vllm.PythonTests;

/// <summary>An engine process that is stopped, as by a frozen cgroup: its callers are led away, and come back when it goes on.</summary>
public sealed class HungEngineTests : SimulatedWorkerTests
{
    [Fact]
    public async Task A_frozen_engine_is_left_step_by_step_and_taken_back_when_it_goes_on()
    {
        await using var worker = await StartAsync(["--simulated-step-time-ms", "20"]);
        await using var client = await ConnectAsync();
        await using var running = await client.CallAsync(Body(1, 900), default);
        await using var items = running.ReadAsync(default).GetAsyncEnumerator();
        Assert.True(await items.MoveNextAsync());
        var core = worker.FindEngineCore();
        worker.Process.Signal("STOP", core);

        await Polling.UntilAsync("the worker calls itself ready", Limit, async () => await worker.StatusAsync("/health") == 503);
        Assert.Equal(200, await worker.StatusAsync("/live"));
        Assert.Equal(1, await worker.MetricAsync("dynamo_vllm_worker_state", "state=\"suspected\""));
        Assert.Equal(0, await worker.MetricAsync("dynamo_vllm_ready"));
        await Polling.UntilAsync(
            "still in discovery",
            Limit,
            () => Task.FromResult(FileDirectoryReader.FindTcp(Store, "generate").Count == 0)
        );
        await using (var refused = await client.CallAsync(Body(2, 5), default))
        {
            Assert.Equal("backend.worker_unavailable", (string?)(await SingleAsync(refused))["error"]!["reason"]);
        }

        Assert.Equal("backend.engine_shutdown", (string?)(await LastAsync(items).WaitAsync(Limit))["error"]!["reason"]);
        Assert.True(running.IsComplete);

        worker.Process.Signal("CONT", core);
        await Polling.UntilAsync("the worker does not come back", Limit, async () => await worker.StatusAsync("/health") == 200);
        await Polling.UntilAsync(
            "not in discovery",
            Limit,
            () => Task.FromResult(FileDirectoryReader.FindTcp(Store, "generate").Count == 1)
        );
        Assert.Equal(1, await worker.MetricAsync("dynamo_vllm_worker_state", "state=\"serving\""));
        Assert.Equal(1, await worker.MetricAsync("dynamo_vllm_ready"));
        await using var again = await client.CallAsync(Body(3, 20), default);
        Assert.Equal(20, await CountAsync(again));
        await Polling.UntilAsync(
            "the engine still works for a caller that was led away",
            Limit,
            async () => await worker.MetricAsync("vllm:num_requests_running") == 0
        );
        worker.Process.Signal("TERM");
        Assert.Equal(0, await worker.Process.ExitCodeAsync(Limit));
    }

    [Fact]
    public async Task An_engine_that_stays_frozen_ends_the_process_and_its_children()
    {
        await using var worker = await StartAsync(["--engine-stall-timeout", "3"]);
        var children = ChildProcesses.Descendants(worker.Process.Id);
        worker.Process.Signal("STOP", worker.FindEngineCore()); // idle: it is noticed without a request
        await worker.Process.LineAsync("Giving the engine up", Limit);
        Assert.Equal(1, await worker.Process.ExitCodeAsync(Limit));
        Assert.Empty(Records());
        Assert.All(children, AssertGone);
    }

    [Fact]
    public async Task A_control_call_to_an_engine_that_is_given_up_gets_the_reason()
    {
        await using var worker = await StartAsync(["--engine-stall-timeout", "3"]);
        worker.Process.Signal("STOP", worker.FindEngineCore());
        // Expected silence, too, is silence: what the engine owes to a control call does not blind the watch for good.
        using var response = await worker.Http.PostAsync("/engine/flush_cache", null);
        var answer = JsonNode.Parse(await response.Content.ReadAsStringAsync())!;
        Assert.Equal("error", (string?)answer["status"]);
        Assert.Contains("the engine is stopped and has been silent", (string?)answer["message"], StringComparison.Ordinal);
        Assert.Equal(1, await worker.Process.ExitCodeAsync(Limit));
    }

    [Fact]
    public async Task A_stop_during_a_freeze_leads_the_callers_away_and_ends_with_0()
    {
        await using var worker = await StartAsync(["--simulated-step-time-ms", "20"]);
        await using var client = await ConnectAsync();
        await using var running = await client.CallAsync(Body(1, 900), default);
        await using var items = running.ReadAsync(default).GetAsyncEnumerator();
        Assert.True(await items.MoveNextAsync());
        worker.Process.Signal("STOP", worker.FindEngineCore());
        worker.Process.Signal("TERM");
        Assert.Equal("backend.engine_shutdown", (string?)(await LastAsync(items).WaitAsync(TimeSpan.FromSeconds(20)))["error"]!["reason"]);
        Assert.Equal(0, await worker.Process.ExitCodeAsync(Limit));
    }

    [Fact]
    public async Task Slow_steps_a_sleep_and_an_idle_while_raise_no_alarm()
    {
        await using var worker = await StartAsync(["--simulated-step-time-ms", "2500"]);
        await using var client = await ConnectAsync();
        await using var call = await client.CallAsync(Body(1, 4), default);
        Assert.Equal(4, await CountAsync(call));
        await ControlAsync(worker, "control/sleep");
        await Task.Delay(TimeSpan.FromSeconds(7)); // that nothing happens has no event
        await ControlAsync(worker, "control/wake_up");
        Assert.DoesNotContain(worker.Process.Lines, line => line.Contains("Stall", StringComparison.Ordinal));
        Assert.Equal(200, await worker.StatusAsync("/health"));
    }

    private static async Task<JsonObject> LastAsync(IAsyncEnumerator<JsonObject> items)
    {
        var last = items.Current;
        while (await items.MoveNextAsync())
        {
            last = items.Current;
        }

        return last;
    }
}
