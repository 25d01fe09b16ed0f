using Dynamo.Vllm.Engine.Processes;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.UnitTests.Engine;

/// <summary>What the kernel says about processes that it killed, in both versions of its interface.</summary>
public sealed class MemoryGroupTests : IDisposable
{
    private readonly TemporaryFolder _root = new();

    [Fact]
    public void A_kill_in_a_group_of_version_2_is_told_with_the_limit()
    {
        Write("worker.service/memory.events", "low 0\nhigh 0\nmax 7\noom 1\noom_kill 3\n");
        Write("worker.service/memory.max", "2147483648\n");
        var group = MemoryGroup.Find("0::/worker.service\n", _root.Path)!;
        Assert.Null(group.DescribeKills());
        Write("worker.service/memory.events", "low 0\nhigh 0\nmax 9\noom 2\noom_kill 5\n");
        var file = Path.Combine(_root.Path, "worker.service", "memory.events");
        Assert.Equal(
            $"the kernel killed 2 of this worker's processes for want of memory ({file}; its limit is 2048 MiB)",
            group.DescribeKills()
        );
    }

    [Fact]
    public void Version_1_and_a_path_that_only_the_host_knows_are_understood()
    {
        Write("memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n");
        Write("memory/memory.limit_in_bytes", "9223372036854771712\n");
        var group = MemoryGroup.Find("9:name=systemd:/\n4:cpu,memory:/pods/4f7b\n0::/\n", _root.Path)!;
        Write("memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n");
        Assert.EndsWith("memory.oom_control; it has no limit of its own)", group.DescribeKills(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("")]
    [InlineData("0::/\n")]
    [InlineData("not what is expected")]
    public void Where_there_is_none_nothing_is_said(string groups) => Assert.Null(MemoryGroup.Find(groups, _root.Path));

    public void Dispose() => _root.Dispose();

    private void Write(string name, string text)
    {
        var file = Path.Combine(_root.Path, name);
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        File.WriteAllText(file, text);
    }
}
