using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PythonTests;

/// <summary>A node whose leader is elsewhere, on the simulated engine: its process, and nothing in discovery.</summary>
[Trait("Category", "Python")]
public sealed class HeadlessTests : SimulatedWorkerTests
{
    [Fact]
    public async Task A_headless_node_registers_nothing_and_ends_with_0_when_it_is_told_to()
    {
        await using var worker = WorkerProcess.StartSimulated(Store, ["--headless", "--nnodes", "2", "--node-rank", "1"], Grace);
        await worker.Process.LineAsync("headless node of", Limit);
        Assert.Empty(Records());
        worker.Process.Signal("TERM");
        await worker.Process.LineAsync("headless node ends", Limit);
        Assert.Equal(0, await worker.Process.ExitCodeAsync(Limit));
    }

    [Fact]
    public async Task A_headless_node_whose_process_ends_ends_with_1()
    {
        await using var worker = WorkerProcess.StartSimulated(Store, ["--headless"], Grace);
        var line = await worker.Process.LineAsync("vLLM runs as process", Limit);
        var id = int.Parse(line.Split("as process ")[1].Split(';')[0], System.Globalization.CultureInfo.InvariantCulture);
        await worker.Process.LineAsync("headless node of", Limit);
        worker.Process.Signal("KILL", id);
        Assert.Equal(1, await worker.Process.ExitCodeAsync(Limit));
    }

    [Fact]
    public async Task A_worker_that_is_killed_leaves_no_headless_node_behind()
    {
        await using var worker = WorkerProcess.StartSimulated(Store, ["--headless"], Grace);
        var line = await worker.Process.LineAsync("vLLM runs as process", Limit);
        var id = int.Parse(line.Split("as process ")[1].Split(';')[0], System.Globalization.CultureInfo.InvariantCulture);
        await worker.Process.LineAsync("headless node of", Limit);
        worker.Process.Signal("KILL");
        await Polling.UntilAsync("the node is still there", Limit, () => Task.FromResult(!IsAlive(id)));
    }

    private static Dictionary<string, string> Grace { get; } = new() { ["DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS"] = "0.2" };
}
