using System.Diagnostics;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Transports.Client;

namespace Dynamo.Vllm.PythonTests;

/// <summary>Nobody reads what the worker writes: it must neither stop for that nor hide it.</summary>
public sealed class OutputTests : SimulatedWorkerTests, IDisposable
{
    private readonly TemporaryFolder _fault = new();

    void IDisposable.Dispose()
    {
        _fault.Dispose();
        Dispose();
    }

    [Fact]
    public async Task Outputs_that_are_full_from_the_start_stop_neither_tokens_nor_probes_nor_the_stop()
    {
        var environment = PythonFault.Environment(_fault, PythonFault.PrintsForEachMessage);
        environment["DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS"] = "1";
        await using var worker = await StartUnreadAsync(environment);
        await using var client = await ConnectAsync();
        var calls = await Task.WhenAll(Enumerable.Range(0, 4).Select(i => client.CallAsync(Body(i, 800), default)));
        Assert.All(await Task.WhenAll(calls.Select(CountAsync)).WaitAsync(Limit), tokens => Assert.Equal(800, tokens));
        await Polling.UntilAsync(
            "no line was dropped",
            Limit,
            async () =>
            {
                Assert.Equal(200, await worker.StatusAsync("/live"));
                Assert.Equal(200, await worker.StatusAsync("/health"));
                return await worker.MetricAsync("dynamo_vllm_log_lines_dropped_total") > 0;
            }
        );

        worker.Process.Signal("TERM");
        var signalled = Stopwatch.GetTimestamp();
        await Polling.UntilAsync(
            "the instance is still in discovery",
            Limit,
            () => Task.FromResult(FileDirectoryReader.FindTcp(Store, "generate").Count == 0)
        );
        Assert.InRange(Stopwatch.GetElapsedTime(signalled).TotalMilliseconds, 0, 500); // 100 ms on an idle machine
        Assert.Equal(0, await worker.Process.ExitCodeAsync(TimeSpan.FromSeconds(20)));
    }

    [Fact]
    public async Task A_reader_that_comes_back_is_told_how_many_lines_are_missing()
    {
        var environment = PythonFault.Environment(_fault, PythonFault.PrintsForEachMessage);
        environment["DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS"] = "0";
        await using var worker = await StartUnreadAsync(environment);
        await using var client = await ConnectAsync();
        Assert.Equal(900, await CountAsync(await client.CallAsync(Body(1, 900), default)).WaitAsync(Limit));
        await Polling.UntilAsync(
            "no line was dropped",
            Limit,
            async () => await worker.MetricAsync("dynamo_vllm_log_lines_dropped_total") > 0
        );
        worker.Process.Read();
        worker.Process.Signal("TERM");
        await worker.Process.LineAsync("lines of output were dropped here because nobody read them in time", Limit);
        await worker.Process.LineAsync("Stopped, exit code 0", Limit);
        Assert.Equal(0, await worker.Process.ExitCodeAsync(Limit));
    }

    [Fact]
    public async Task What_the_engines_processes_print_arrives_on_the_output_they_print_to()
    {
        await using var worker = WorkerProcess.StartSimulated(Store, [], PythonFault.Environment(_fault, PythonFault.PrintsForEachMessage));
        await worker.ReadyAsync(Limit);
        await worker.Process.LineAsync(new string('o', 4000), Limit);
        await worker.Process.LineAsync(new string('e', 4000), Limit);
    }

    [Fact]
    public async Task The_last_words_of_a_crash_in_native_code_are_seen()
    {
        await using var worker = WorkerProcess.StartSimulated(Store, [], PythonFault.Environment(_fault, PythonFault.Crashes));
        Assert.NotEqual(0, await worker.Process.ExitCodeAsync(Limit));
        await worker.Process.LineAsync("terminate called by a library", Limit);
    }

    [Theory]
    [InlineData("2>&-")]
    [InlineData("1>&- 2>&-")]
    [InlineData("0<&- 1>&- 2>&-")]
    public async Task A_worker_whose_standard_descriptors_are_closed_serves(string closed)
    {
        await using var worker = WorkerProcess.StartSimulated(
            Store,
            [],
            new Dictionary<string, string> { ["DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS"] = "0" },
            ["sh", "-c", $"exec \"$@\" {closed}", "sh"]
        );
        await ServesAsync(worker);
        await using var client = await ConnectAsync();
        Assert.Equal(20, await CountAsync(await client.CallAsync(Body(1, 20), default)));
        worker.Process.Signal("TERM");
        Assert.Equal(0, await worker.Process.ExitCodeAsync(Limit));
    }

    [Fact]
    public async Task A_start_that_fails_ends_though_nobody_reads_why()
    {
        await using var worker = WorkerProcess.StartSimulated(
            Store,
            ["--model", "/nonexistent"],
            launcher: FullPipes.Launcher,
            isRead: false
        );
        Assert.Equal(1, await worker.Process.ExitCodeAsync(Limit));
        await using var usage = WorkerProcess.StartSimulated(
            Store,
            ["--disaggregation-mode", "sideways"],
            launcher: FullPipes.Launcher,
            isRead: false
        );
        Assert.Equal(2, await usage.Process.ExitCodeAsync(Limit));
    }

    private async Task<WorkerProcess> StartUnreadAsync(Dictionary<string, string> environment)
    {
        var worker = WorkerProcess.StartSimulated(Store, ["--simulated-step-time-ms", "1"], environment, FullPipes.Launcher, isRead: false);
        try
        {
            await ServesAsync(worker);
            return worker;
        }
        catch
        {
            await worker.DisposeAsync();
            throw;
        }
    }

    private static Task ServesAsync(WorkerProcess worker) =>
        Polling.UntilAsync(
            "the worker does not serve",
            Limit,
            async () =>
            {
                try
                {
                    Assert.False(worker.Process.HasExited, worker.Process.Tail);
                    return await worker.StatusAsync("/health") == 200;
                }
                catch (HttpRequestException)
                {
                    return false; // not listening yet
                }
            }
        );
}
