using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Transports.Client;

namespace Dynamo.Vllm.PythonTests;

/// <summary>What a service manager hears of a whole worker: <c>NOTIFY_SOCKET</c> is a socket of the test.</summary>
public sealed class ServiceManagerTests : SimulatedWorkerTests
{
    [Fact]
    public async Task A_life_is_told_from_loading_to_the_end_in_its_order()
    {
        using var socket = new NotifySocket();
        await using var worker = WorkerProcess.StartSimulated(
            Store,
            ["--simulated-step-time-ms", "20", "--simulated-load-time-ms", "3000"],
            Variables(socket, grace: "1")
        );
        await socket.MessageAsync(message => message.StartsWith("STATUS=Starting: engine (stage 5 of ", StringComparison.Ordinal), Limit);
        var extended = await socket.MessageAsync(message => message == "EXTEND_TIMEOUT_USEC=120000000", Limit);
        var loads = await socket.MessageAsync(IsSign, Limit); // watched only from READY on, but true all the time
        var ready = await socket.MessageAsync(message => message == "READY=1", Limit);
        Assert.InRange(ready, Math.Max(extended, loads) + 1, int.MaxValue);
        Assert.Equal(200, await worker.StatusAsync("/health"));
        Assert.Matches(
            @"^STATUS=Serving tiny as dynamo\.backend\.generate at tcp 127\.0\.0\.1:\d+; probes at http://127\.0\.0\.1:\d+$",
            socket.Messages.Take(ready).Last(message => message.StartsWith("STATUS", StringComparison.Ordinal))
        );
        await socket.MessageAsync(IsSign, Limit, ready);

        await using var client = await ConnectAsync();
        await using var call = await client.CallAsync(Body(1, 150), default);
        await FirstAsync(call);
        worker.Process.Signal("TERM");
        var stopping = await socket.MessageAsync(message => message == "STOPPING=1", Limit, ready);
        Assert.DoesNotContain(socket.Messages.Skip(ready + 1).Take(stopping - ready - 1), IsStop);
        await socket.MessageAsync(message => message == "EXTEND_TIMEOUT_USEC=15000000", Limit, stopping);
        await socket.MessageAsync(message => message == "STATUS=Stopping: draining, 1 requests left", Limit, stopping);
        Assert.Equal(0, await worker.Process.ExitCodeAsync(Limit));
        await socket.MessageAsync(message => message == "STATUS=Stopped", Limit, stopping);
        Assert.Single(socket.Messages, message => message == "READY=1");
    }

    [Fact]
    public async Task A_frozen_engine_is_in_the_status_and_ends_the_signs_of_life_once_it_is_given_up()
    {
        using var socket = new NotifySocket();
        await using var worker = await StartAsync(["--engine-stall-timeout", "5"], environment: Variables(socket));
        await socket.MessageAsync(IsSign, Limit);
        worker.Process.Signal("STOP", worker.FindEngineCore());
        var suspect = await socket.MessageAsync(
            message => message.StartsWith("STATUS=Not ready, 0 requests running: the engine is stopped", StringComparison.Ordinal),
            Limit
        );
        await socket.MessageAsync(IsSign, Limit, suspect); // it may come back
        var stopping = await socket.MessageAsync(message => message == "STOPPING=1", Limit, suspect);
        Assert.Equal(1, await worker.Process.ExitCodeAsync(Limit));
        Assert.DoesNotContain(socket.Messages.Skip(stopping), IsSign);
        Assert.Contains(
            socket.Messages.Skip(stopping),
            message => message.Contains("the engine was given up: the engine is stopped", StringComparison.Ordinal)
        );
    }

    [Fact]
    public async Task A_load_that_does_nothing_is_not_waited_for_again()
    {
        using var socket = new NotifySocket();
        await using var worker = WorkerProcess.StartSimulated(
            Store,
            ["--simulated-load-time-ms", "600000", "--engine-stall-timeout", "10"],
            Variables(socket)
        );
        var engine = await socket.MessageAsync(message => message.Contains("engine (stage ", StringComparison.Ordinal), Limit);
        await Task.Delay(TimeSpan.FromSeconds(25)); // two windows: that nothing comes has no event
        var last = socket.Messages.Skip(engine).Count(message => message == "EXTEND_TIMEOUT_USEC=20000000");
        await Task.Delay(TimeSpan.FromSeconds(12)); // one more
        Assert.Equal(last, socket.Messages.Skip(engine).Count(message => message == "EXTEND_TIMEOUT_USEC=20000000"));
        worker.Process.Signal("TERM");
        Assert.Equal(0, await worker.Process.ExitCodeAsync(Limit));
    }

    [Fact]
    public async Task A_reload_leaves_discovery_finishes_what_runs_and_comes_back()
    {
        using var socket = new NotifySocket();
        await using var worker = await StartAsync(["--simulated-step-time-ms", "20"], environment: Variables(socket));
        await using var client = await ConnectAsync();
        await using var call = await client.CallAsync(Body(1, 200), default);
        var reading = CountAsync(call);
        worker.Process.Signal("RTMIN+5");
        var reloading = await socket.MessageAsync(
            message => message.StartsWith("RELOADING=1\nMONOTONIC_USEC=", StringComparison.Ordinal),
            Limit
        );
        await Polling.UntilAsync(
            "still in discovery",
            Limit,
            () => Task.FromResult(FileDirectoryReader.FindTcp(Store, "generate").Count == 0)
        );
        await socket.MessageAsync(message => message == "STATUS=Reloading: out of discovery until 1 running requests have ended", Limit);
        Assert.Equal(1, await worker.MetricAsync("dynamo_vllm_worker_state", "state=\"reloading\""));
        Assert.True(await worker.MetricAsync("dynamo_vllm_drain_seconds") > 0);
        Assert.Equal(200, await reading.WaitAsync(Limit));
        await socket.MessageAsync(message => message == "READY=1", Limit, reloading);
        Assert.Single(FileDirectoryReader.FindTcp(Store, "generate"));
        await using var again = await client.CallAsync(Body(2, 5), default);
        Assert.Equal(5, await CountAsync(again));
        Assert.Equal(0, await worker.MetricAsync("dynamo_vllm_drain_seconds"));
        worker.Process.Signal("TERM");
        Assert.Equal(0, await worker.Process.ExitCodeAsync(Limit));
    }

    [Fact]
    public async Task A_manager_that_reads_nothing_holds_nothing_up()
    {
        using var socket = new NotifySocket(isRead: false);
        var variables = Variables(socket);
        variables["WATCHDOG_USEC"] = "30000"; // a hundred signs a second: the kernel's queue is full at once
        await using var worker = await StartAsync(environment: variables);
        await using var client = await ConnectAsync();
        await using var call = await client.CallAsync(Body(1, 300), default);
        Assert.Equal(300, await CountAsync(call));
        worker.Process.Signal("TERM");
        Assert.Equal(0, await worker.Process.ExitCodeAsync(Limit));
    }

    [Fact]
    public async Task A_start_that_fails_leaves_its_reason()
    {
        using var socket = new NotifySocket();
        await using var worker = WorkerProcess.StartSimulated(Store, ["--model", "/nowhere"], Variables(socket));
        Assert.Equal(1, await worker.Process.ExitCodeAsync(Limit));
        await socket.MessageAsync(message => message.StartsWith("STATUS=Failed to start: ", StringComparison.Ordinal), Limit);
        Assert.DoesNotContain("READY=1", socket.Messages);
    }

    private static bool IsSign(string message) => message == "WATCHDOG=1";

    private static bool IsStop(string message) => message.StartsWith("STATUS=Stopping", StringComparison.Ordinal);

    private static Dictionary<string, string> Variables(NotifySocket socket, string grace = "0.2") =>
        new()
        {
            ["NOTIFY_SOCKET"] = socket.Path,
            ["WATCHDOG_USEC"] = "3000000",
            ["DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS"] = grace,
        };
}
