using Dynamo.Vllm.Python.Locating;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PythonTests;

/// <summary>Every release of Python that can be embedded, as far as it is installed beside the one that runs.</summary>
public sealed class PythonVersionTests : SimulatedWorkerTests
{
    [Fact]
    public async Task A_worker_serves_with_each_python_that_is_here()
    {
        var minors = new List<int>();
        foreach (var executable in Beside(PythonLocator.Locate(null, Environment.GetEnvironmentVariable).Executable))
        {
            // No locale, as in most containers: what Python makes of that differs from release to release.
            var environment = new Dictionary<string, string> { ["LC_ALL"] = "", ["LANG"] = "" };
            await using var worker = await StartAsync(["--python", executable], environment: environment);
            await using var client = await ConnectAsync();
            await using var call = await client.CallAsync(Body(1, 20), default);
            Assert.Equal(20, await CountAsync(call));
            worker.Process.Signal("TERM");
            Assert.Equal(0, await worker.Process.ExitCodeAsync(Limit));
            minors.Add(PythonLocator.Locate(executable, Environment.GetEnvironmentVariable).Minor);
        }

        Assert.NotEmpty(minors);
    }

    /// <summary>The interpreter itself, and of folders named <c>3.N.M</c> beside its own those that can be embedded.</summary>
    private static IEnumerable<string> Beside(string executable)
    {
        var home = Path.GetDirectoryName(Path.GetDirectoryName(executable))!;
        var folders = Version.TryParse(Path.GetFileName(home), out _) ? Directory.GetDirectories(Path.GetDirectoryName(home)!) : [home];
        return folders
            .Where(folder => folder == home || IsUsable(Path.GetFileName(folder)))
            .Select(folder => folder == home ? executable : Path.Combine(folder, "bin", "python3"))
            .Where(File.Exists);
    }

    private static bool IsUsable(string name) =>
        Version.TryParse(name, out var version) && version is { Major: 3, Minor: >= PythonLocator.MinorMin and <= PythonLocator.MinorMax };
}
