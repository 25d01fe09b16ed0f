using Dynamo.Vllm.Python.Locating;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PythonTests;

/// <summary>Every release of Python that can be embedded, as far as it is installed beside the one that runs.</summary>
public sealed class PythonVersionTests : SimulatedWorkerTests
{
    [Fact]
    public async Task A_worker_serves_with_each_python_that_is_here()
    {
        var served = 0;
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
            served++;
        }

        Assert.NotEqual(0, served);
    }

    /// <summary>The interpreter itself, and of folders named <c>3.N.M</c> beside its own those with a shared library.</summary>
    /// <remarks>Not asked of <see cref="PythonLocator"/>: a second library, loaded into this process to look at it, finds the first one's
    /// symbols.</remarks>
    private static IEnumerable<string> Beside(string executable)
    {
        var home = Path.GetDirectoryName(Path.GetDirectoryName(executable))!;
        var others = Version.TryParse(Path.GetFileName(home), out _) ? Directory.GetDirectories(Path.GetDirectoryName(home)!) : [];
        return others
            .Where(folder => folder != home && HasSharedLibrary(folder))
            .Select(folder => Path.Combine(folder, "bin", "python3"))
            .Where(File.Exists)
            .Prepend(executable);
    }

    private static bool HasSharedLibrary(string folder) =>
        Version.TryParse(Path.GetFileName(folder), out var version)
        && version is { Major: 3, Minor: >= PythonLocator.MinorMin and <= PythonLocator.MinorMax }
        && File.Exists(Path.Combine(folder, "lib", $"libpython3.{version.Minor}.so"));
}
