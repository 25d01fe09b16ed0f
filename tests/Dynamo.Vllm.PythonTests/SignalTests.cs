using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PythonTests;

/// <summary>What whoever started the worker did to its signals, and what reaches it.</summary>
public sealed class SignalTests : SimulatedWorkerTests
{
    [Theory]
    [InlineData("INT")] // as a shell without job control starts what ends in &
    [InlineData("TERM")]
    public async Task A_stop_signal_that_the_parent_ignored_still_drains(string signal)
    {
        await using var worker = await StartAsync(launcher: Ignoring(signal));
        await DrainsAsync(worker, signal);
    }

    [Fact]
    public async Task A_hangup_drains()
    {
        await using var worker = await StartAsync();
        await DrainsAsync(worker, "HUP");
    }

    [Fact]
    public async Task Nohup_stays_in_force()
    {
        await using var worker = await StartAsync(launcher: Ignoring("HUP"));
        worker.Process.Signal("HUP");
        await DrainsAsync(worker, "TERM");
        Assert.Single(worker.Process.Lines, line => line.Contains("Stopping", StringComparison.Ordinal));
    }

    private static string[] Ignoring(string signal) => ["sh", "-c", $"trap '' {signal}; exec \"$@\"", "sh"];

    private async Task DrainsAsync(WorkerProcess worker, string signal)
    {
        await using var client = await ConnectAsync();
        await using var call = await client.CallAsync(Body(1, 100), default);
        var reading = CountAsync(call);
        worker.Process.Signal(signal);
        await worker.Process.LineAsync("Stopping", TimeSpan.FromSeconds(10));
        Assert.Equal(100, await reading.WaitAsync(Limit));
        Assert.Equal(0, await worker.Process.ExitCodeAsync(Limit));
        Assert.Empty(Records());
    }
}
