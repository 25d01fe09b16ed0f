using Dynamo.Vllm.Transports.Client;

namespace Dynamo.Vllm.PythonTests;

/// <summary>What happens to a worker that has decided to leave: nothing brings
/// it back, and nothing keeps it from finishing what it accepted.</summary>
public sealed class DepartureTests : SimulatedWorkerTests
{
    [Fact]
    public async Task A_wake_up_during_the_drain_registers_nothing()
    {
        await using var worker = await StartAsync(grace: 2);
        Assert.Equal("Engine slept (level=1)", await ControlAsync(worker, "control/sleep"));
        worker.Process.Signal("TERM");
        await worker.Process.LineAsync("Stopping", Limit);
        Assert.Contains("shutting down", await ControlAsync(worker, "control/wake_up"), StringComparison.Ordinal);
        Assert.Empty(FileDirectoryReader.FindTcp(Store, "generate"));
        Assert.Equal(0, await worker.Process.ExitCodeAsync(Limit));
        Assert.DoesNotContain(worker.Process.Lines, line => line.Contains("ERROR", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("pause_generation")]
    [InlineData("control/sleep")]
    public async Task What_would_stop_running_requests_is_refused_during_the_drain(string call)
    {
        await using var worker = await StartAsync(grace: 1);
        await using var client = await ConnectAsync();
        await using var stream = await client.CallAsync(Body(1, 300), default);
        var reading = CountAsync(stream);
        worker.Process.Signal("TERM");
        await worker.Process.LineAsync("Stopping", Limit);
        Assert.Contains("shutting down", await ControlAsync(worker, call), StringComparison.Ordinal);
        Assert.Equal(300, await reading.WaitAsync(Limit));
        Assert.Equal(0, await worker.Process.ExitCodeAsync(Limit));
    }
}
