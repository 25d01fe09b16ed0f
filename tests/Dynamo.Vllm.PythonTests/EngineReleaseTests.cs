using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PythonTests;

/// <summary>
/// Releases of vLLM that the worker was not made for: refused in one line before anything loads, or served with one about what is lost.
/// </summary>
public sealed class EngineReleaseTests : SimulatedWorkerTests, IDisposable
{
    private readonly TemporaryFolder _folder = new();

    void IDisposable.Dispose()
    {
        _folder.Dispose();
        Dispose();
    }

    [Fact]
    public async Task A_release_that_lacks_a_name_is_refused_in_one_line()
    {
        await using var worker = StartDoctored("v1/engine/async_llm.py", "async def check_health(", "async def ask_health(");
        Assert.Equal(1, await worker.Process.ExitCodeAsync(Limit));
        var line = Assert.Single(worker.Process.Lines, line => line.Contains("error:", StringComparison.Ordinal));
        const string expected = "vLLM 0.31.0+simulated cannot be served, it lacks vllm.v1.engine.async_llm.AsyncLLM.check_health;";
        Assert.Contains(expected + " this worker is run with vLLM 0.31", line, StringComparison.Ordinal);
        Assert.DoesNotContain(worker.Process.Lines, text => text.Contains("Traceback", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Another_parser_is_refused_in_one_line()
    {
        await using var worker = StartDoctored("engine/arg_utils.py", "def from_cli_args(", "def from_arguments(");
        Assert.Equal(1, await worker.Process.ExitCodeAsync(Limit));
        const string expected = "it lacks vllm.engine.arg_utils.AsyncEngineArgs.from_cli_args;";
        Assert.Single(worker.Process.Lines, line => line.Contains(expected, StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_release_without_the_short_ways_is_served_and_says_so()
    {
        await using var worker = StartDoctored(
            "v1/engine/async_llm.py",
            "self._add_request(",
            "self._add_one(",
            "async def _add_request(",
            "async def _add_one("
        );
        await worker.ReadyAsync(Limit);
        const string expected = "request goes vLLM's own way into the engine: it lacks vllm.v1.engine.async_llm.AsyncLLM._add_request";
        Assert.Single(worker.Process.Lines, line => line.Contains(expected, StringComparison.Ordinal));
        await using var client = await ConnectAsync();
        Assert.Equal(5, await CountAsync(await client.CallAsync(Body(1, 5), default)));
    }

    [Fact]
    public async Task An_unknown_release_is_served_and_said_once()
    {
        await using var worker = StartDoctored("__init__.py", "\"0.31.0+simulated\"", "\"0.32.0\"");
        await worker.ReadyAsync(Limit);
        Assert.Single(
            worker.Process.Lines,
            line => line.Contains("vLLM 0.32.0 is not the release that this worker is run with (0.31)", StringComparison.Ordinal)
        );
    }

    /// <param name="file">Of the simulated package.</param>
    /// <param name="changes">Pairs of what is there and what is put in its place.</param>
    private WorkerProcess StartDoctored(string file, params string[] changes)
    {
        var source = new DirectoryInfo(Path.Combine(SimulatedPaths.SimulatedEngine, "vllm"));
        foreach (var module in source.GetFiles("*", SearchOption.AllDirectories))
        {
            var copy = Path.Combine(_folder.Path, "vllm", Path.GetRelativePath(source.FullName, module.FullName));
            Directory.CreateDirectory(Path.GetDirectoryName(copy)!);
            module.CopyTo(copy);
        }

        var path = Path.Combine(_folder.Path, "vllm", file);
        var text = File.ReadAllText(path);
        for (var index = 0; index < changes.Length; index += 2)
        {
            Assert.Contains(changes[index], text, StringComparison.Ordinal);
            text = text.Replace(changes[index], changes[index + 1], StringComparison.Ordinal);
        }

        File.WriteAllText(path, text);
        var model = Path.Combine(SimulatedPaths.SimulatedEngine, "model");
        return WorkerProcess.Start(
            Store,
            ["--model", model, "--served-model-name", "tiny", "--max-model-len", "1024"],
            new Dictionary<string, string> { ["PYTHONPATH"] = _folder.Path }
        );
    }
}
