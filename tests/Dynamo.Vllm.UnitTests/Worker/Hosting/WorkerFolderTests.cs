using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Worker.Hosting;

namespace Dynamo.Vllm.UnitTests.Worker.Hosting;

public sealed class WorkerFolderTests : IDisposable
{
    private const UnixFileMode OwnerAlone = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

    private readonly TemporaryFolder _place = new();

    public void Dispose() => _place.Dispose();

    [Fact]
    public void It_goes_with_the_worker()
    {
        using (var folder = Create())
        {
            File.WriteAllText(Path.Combine(folder.Add("metrics"), "counter.db"), "");
            Assert.Equal(_place.Path, Path.GetDirectoryName(folder.Path));
            Assert.True(OperatingSystem.IsWindows() || File.GetUnixFileMode(folder.Path) == OwnerAlone);
        }

        Assert.Empty(Directory.EnumerateFileSystemEntries(_place.Path));
    }

    [Fact]
    public void One_that_nobody_holds_is_removed_by_the_next_and_a_living_worker_s_is_not()
    {
        using var living = Create();
        var abandoned = Directory.CreateDirectory(Path.Combine(_place.Path, "dynamo-vllm-killed")).FullName;
        File.WriteAllText(Path.Combine(abandoned, "held"), "");
        File.WriteAllText(Path.Combine(Directory.CreateDirectory(Path.Combine(abandoned, "metrics")).FullName, "counter.db"), "");
        using var next = Create();
        Assert.Equal(1, next.Removed);
        Assert.Equal(new[] { living.Path, next.Path }.Order(), Directory.EnumerateDirectories(_place.Path).Order());
    }

    [Fact]
    public void What_is_not_a_worker_s_stays()
    {
        var strange = Directory.CreateDirectory(Path.Combine(_place.Path, "dynamo-vllm-models")).FullName;
        var unfinished = Directory.CreateDirectory(Path.Combine(_place.Path, "dynamo-vllm-a.new")).FullName;
        File.WriteAllText(Path.Combine(unfinished, "held"), "");
        using var folder = Create();
        Assert.Equal(0, folder.Removed);
        Assert.True(Directory.Exists(strange));
        Assert.True(Directory.Exists(unfinished));
    }

    private WorkerFolder Create() => WorkerFolder.Create(new Dictionary<string, string> { ["TMPDIR"] = _place.Path });
}
