using System.Net;
using System.Net.Sockets;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Transports.Client;

namespace Dynamo.Vllm.PythonTests;

/// <summary>Few descriptors, and many who connect and say nothing.</summary>
public sealed class ScarceDescriptorTests : SimulatedWorkerTests
{
    private const int Limited = 512;

    [Fact]
    public async Task Idle_connections_keep_out_neither_callers_nor_probes()
    {
        await using var worker = await StartAsync(launcher: ["prlimit", $"--nofile={Limited}"]);
        var request = IPEndPoint.Parse(FileDirectoryReader.FindTcp(Store, "generate")[0].Split('/')[0]);
        var status = new IPEndPoint(IPAddress.Loopback, worker.Http.BaseAddress!.Port);
        var idle = new List<Socket>();
        try
        {
            foreach (var address in new[] { request, status })
            {
                for (var i = 0; i < Limited + 100; i++)
                {
                    var socket = new Socket(SocketType.Stream, ProtocolType.Tcp);
                    idle.Add(socket);
                    await socket.ConnectAsync(address).WaitAsync(Limit);
                }
            }

            await AnsweredAsync(worker, async () => Assert.Equal(200, await worker.StatusAsync("/live")));
            await using var client = await ConnectAsync();
            Assert.Equal(50, await CountAsync(await client.CallAsync(Body(1, 50), default)).WaitAsync(Limit));
            await AnsweredAsync(
                worker,
                async () =>
                {
                    Assert.True(await worker.MetricAsync("dynamo_vllm_connections_closed_total", "requests") > 0);
                    Assert.True(await worker.MetricAsync("dynamo_vllm_connections_closed_total", "status") > 0);
                }
            );
            Assert.InRange(worker.Process.Lines.Count(line => line.Contains("silent for longest", StringComparison.Ordinal)), 2, 20);
        }
        finally
        {
            idle.ForEach(socket => socket.Dispose());
        }

        worker.Process.Signal("TERM");
        Assert.Equal(0, await worker.Process.ExitCodeAsync(Limit));
    }

    [Fact]
    public async Task Too_few_descriptors_are_one_line_that_says_how_many_are_needed()
    {
        await using var worker = WorkerProcess.StartSimulated(Store, launcher: ["prlimit", "--nofile=64"]);
        Assert.Equal(1, await worker.Process.ExitCodeAsync(Limit));
        Assert.Contains("the limit of open files is 64, and at least", Assert.Single(worker.Process.Lines), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_full_disk_under_the_file_store_is_one_line_before_the_engine_loads()
    {
        // A private mount needs root; it goes with the worker's namespace.
        var store = Path.Combine(Store, "full");
        Directory.CreateDirectory(store);
        string[] launcher =
        [
            "unshare",
            "-m",
            "sh",
            "-c",
            $"mount -t tmpfs -o size=4k none {store} && head -c 4096 /dev/zero > {store}/fill; exec \"$@\"",
            "sh",
        ];
        await using var worker = WorkerProcess.StartSimulated(store, ["--simulated-load-time-ms", "50000"], launcher: launcher);
        Assert.Equal(1, await worker.Process.ExitCodeAsync(TimeSpan.FromSeconds(40)));
        Assert.Single(
            worker.Process.Lines,
            line =>
                line.Contains("error: file discovery cannot use", StringComparison.Ordinal)
                && line.Contains(store, StringComparison.Ordinal)
        );
    }

    [Fact]
    public async Task A_soft_limit_is_raised_to_the_hard_one()
    {
        await using var worker = await StartAsync(launcher: ["prlimit", "--nofile=64:4096"]);
        var line = (await File.ReadAllLinesAsync($"/proc/{worker.Process.Id}/limits")).Single(line =>
            line.StartsWith("Max open files", StringComparison.Ordinal)
        );
        Assert.Equal(["4096", "4096"], line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[3..5]);
    }

    /// <summary>
    /// The listener still works off the flood of connections that came before, so one that has not said anything yet can be the longest
    /// silent one: a supervisor probes again, and so does this.
    /// </summary>
    private static async Task AnsweredAsync(WorkerProcess worker, Func<Task> probe)
    {
        var last = "";
        await Polling.UntilAsync(
            "no answer",
            Limit,
            async () =>
            {
                try
                {
                    await probe();
                    return true;
                }
                catch (HttpRequestException exception)
                {
                    last = exception.ToString();
                    return false;
                }
            },
            () => $"{last}\n{worker.Process.Tail}"
        );
    }
}
