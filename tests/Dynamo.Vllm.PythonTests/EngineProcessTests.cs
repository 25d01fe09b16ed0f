using System.Globalization;
using Dynamo.Vllm.Engine.Processes;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PythonTests;

/// <summary>How the engine's processes stand to the worker's own in the eyes of the kernel and of a terminal.</summary>
public sealed class EngineProcessTests : SimulatedWorkerTests
{
    [Fact]
    public async Task The_engine_shares_our_session_and_so_our_turn_on_the_cores_but_not_our_process_group()
    {
        await using var worker = await StartAsync();
        var (_, session) = GroupAndSession(worker.Process.Id);
        var (group, engineSession) = GroupAndSession(worker.FindEngineCore());
        Assert.Equal(session, engineSession);
        Assert.Equal(worker.FindEngineCore(), group);
    }

    [Fact]
    public async Task Ctrl_C_of_a_terminal_drains()
    {
        // setsid makes the worker lead a process group, as the shell of a terminal does with the job in the foreground.
        await using var worker = await StartAsync(launcher: ["setsid"]);
        await using var client = await ConnectAsync();
        await using var call = await client.CallAsync(Body(1, 100), default);
        var reading = CountAsync(call);
        Assert.Equal(worker.Process.Id, GroupAndSession(worker.Process.Id).Group);
        worker.Process.Signal("INT", -worker.Process.Id);
        Assert.Equal(100, await reading.WaitAsync(Limit));
        Assert.Equal(0, await worker.Process.ExitCodeAsync(Limit));
    }

    private static (int Group, int Session) GroupAndSession(int id)
    {
        // id (name) state parent group session ...
        var stat = File.ReadAllText($"/proc/{id}/stat");
        var fields = stat[(stat.LastIndexOf(')') + 2)..].Split(' ');
        return (int.Parse(fields[2], CultureInfo.InvariantCulture), int.Parse(fields[3], CultureInfo.InvariantCulture));
    }
}
