using System.Net;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PythonTests;

/// <summary>Environments and model folders that nobody would think of, and that
/// exist: what the reference serves is served, the rest is refused by name.</summary>
public sealed class OddEnvironmentTests : SimulatedWorkerTests, IDisposable
{
    private readonly TemporaryFolder _folder = new();

    void IDisposable.Dispose()
    {
        _folder.Dispose();
        Dispose();
    }

    [Theory]
    [InlineData("PROMETHEUS_MULTIPROC_DIR", "")]
    [InlineData("TMPDIR", "/nonexistent/temporary")]
    [InlineData("TMPDIR", "/proc")] // read-only also for root
    [InlineData("TMPDIR", "")]
    public async Task It_serves_with(string variable, string value)
    {
        await using var worker = WorkerProcess.StartSimulated(Store, [], new Dictionary<string, string> { [variable] = value });
        await ServesAsync(worker);
        Assert.True(await worker.MetricAsync("vllm:num_requests_running") >= 0);
    }

    /// <summary>As in most containers. Torch reads sources of its own as text, and in ASCII it cannot be imported.</summary>
    [Fact]
    public async Task Python_reads_text_as_utf8_where_no_locale_is_set()
    {
        var seen = Path.Combine(_folder.Path, "encoding");
        _folder.Write(
            "sitecustomize.py",
            $"""
            import locale, os
            if os.readlink("/proc/self/exe").endswith("dotnet"):
                open("{seen}", "w").write(locale.getpreferredencoding(False))
            """
        );
        string[] launcher = ["env", "-u", "LANG", "-u", "LC_ALL", "-u", "LC_CTYPE", "-u", "PYTHONUTF8", $"PYTHONPATH={_folder.Path}"];
        await using var worker = WorkerProcess.StartSimulated(Store, launcher: launcher);
        await ServesAsync(worker);
        Assert.Equal("utf-8", await File.ReadAllTextAsync(seen), ignoreCase: true);
    }

    [Fact]
    public async Task A_model_folder_with_what_people_leave_in_it_is_served()
    {
        var model = CopyModel();
        var config = Path.Combine(model, "config.json");
        var text = await File.ReadAllTextAsync(config);
        await File.WriteAllTextAsync(
            config,
            text[..text.LastIndexOf('}')] + ", \"a\": Infinity, \"b\": [-Infinity, NaN], \"c\": \"NaN, \\\"Infinity\"}"
        );
        File.CreateSymbolicLink(Path.Combine(model, "vocab.txt"), "/nonexistent/blob");
        using (var large = File.Create(Path.Combine(model, "weights.tar")))
        {
            large.SetLength(int.MaxValue + 1L);
        }

        await using var worker = WorkerProcess.StartSimulated(Store, ["--model", model]);
        await ServesAsync(worker);
    }

    [Fact]
    public async Task A_configuration_that_is_no_JSON_is_refused_by_name_before_the_engine_loads()
    {
        var model = CopyModel();
        var config = Path.Combine(model, "tokenizer_config.json");
        await File.WriteAllTextAsync(config, "{\"chat_template\": ");
        File.Delete(Path.Combine(model, "config.json"));
        await File.WriteAllTextAsync(Path.Combine(model, "config.json"), "{}");
        await using var worker = WorkerProcess.StartSimulated(Store, ["--model", model, "--simulated-load-time-ms", "50000"]);
        Assert.Equal(1, await worker.Process.ExitCodeAsync(TimeSpan.FromSeconds(30)));
        AssertOneLine(worker, config);
    }

    [Fact]
    public async Task A_temporary_folder_that_cannot_hold_the_file_store_is_one_line()
    {
        await using var worker = WorkerProcess.StartSimulated("/proc/store");
        Assert.Equal(1, await worker.Process.ExitCodeAsync(Limit));
        AssertOneLine(worker, "/proc/store");
    }

    [Fact]
    public async Task The_status_server_listens_where_a_host_name_leads()
    {
        await using var worker = WorkerProcess.StartSimulated(
            Store,
            [],
            new Dictionary<string, string> { ["DYN_SYSTEM_HOST"] = Dns.GetHostName() }
        );
        await worker.ReadyAsync(Limit);
        var address = (await Dns.GetHostAddressesAsync(Dns.GetHostName()))[0];
        var line = await worker.Process.LineAsync("System status server listens on", Limit);
        Assert.Contains(new IPEndPoint(address, worker.Http.BaseAddress!.Port).ToString(), line, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("no-such-host.invalid")]
    [InlineData("192.0.2.1")]
    public async Task A_host_that_leads_nowhere_or_elsewhere_is_named(string host)
    {
        await using var worker = WorkerProcess.StartSimulated(Store, [], new Dictionary<string, string> { ["DYN_SYSTEM_HOST"] = host });
        await worker.Process.LineAsync($"System status server cannot listen on {host}:", Limit);
        await worker.ReadyAsync(Limit); // as in the reference
    }

    [Fact]
    public async Task Nothing_is_left_in_the_temporary_folder()
    {
        var environment = new Dictionary<string, string> { ["TMPDIR"] = _folder.Path, ["DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS"] = "0" };
        await using var worker = WorkerProcess.StartSimulated(Store, [], environment);
        await worker.ReadyAsync(Limit);
        Assert.NotEmpty(Directory.GetFileSystemEntries(_folder.Path));
        worker.Process.Signal("TERM");
        Assert.Equal(0, await worker.Process.ExitCodeAsync(Limit));
        Assert.Empty(Directory.GetFileSystemEntries(_folder.Path));
    }

    [Fact]
    public async Task What_a_killed_worker_left_in_the_temporary_folder_goes_with_the_next_start_and_a_living_one_s_stays()
    {
        var environment = new Dictionary<string, string> { ["TMPDIR"] = _folder.Path, ["DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS"] = "0" };
        await using var killed = WorkerProcess.StartSimulated(Store, [], environment);
        await killed.ReadyAsync(Limit);
        var left = Assert.Single(Directory.GetDirectories(_folder.Path, "dynamo-vllm-*"));
        killed.Process.Signal("KILL");
        await killed.Process.ExitCodeAsync(Limit);
        await using var living = WorkerProcess.StartSimulated(Store, [], environment);
        await living.ReadyAsync(Limit);
        Assert.False(Directory.Exists(left));
        await using var next = WorkerProcess.StartSimulated(Store, [], environment);
        await next.ReadyAsync(Limit);
        Assert.Equal(2, Directory.GetDirectories(_folder.Path, "dynamo-vllm-*").Length);
        Assert.Contains(
            living.Process.Lines,
            line => line.Contains("Removed the temporary folders of 1 workers", StringComparison.Ordinal)
        );
    }

    /// <param name="flags">Beside those of every worker.</param>
    /// <param name="isStopped">While it loads; otherwise the load fails by itself.</param>
    /// <param name="exitCode">Expected.</param>
    [Theory]
    [InlineData(new[] { "--simulated-load-time-ms", "60000" }, true, 0)]
    [InlineData(new[] { "--num-gpu-blocks-override", "2" }, false, 1)]
    public async Task Nothing_is_left_in_the_temporary_folder_by_a_load_that_did_not_end_well(string[] flags, bool isStopped, int exitCode)
    {
        var environment = new Dictionary<string, string> { ["TMPDIR"] = _folder.Path };
        await using var worker = WorkerProcess.StartSimulated(Store, flags, environment);
        if (isStopped)
        {
            await Polling.UntilAsync(
                "there are no sockets for the engine",
                Limit,
                () => Task.FromResult(Directory.GetDirectories(_folder.Path, "dynamo-vllm-*").Length > 0)
            );
            worker.Process.Signal("TERM");
        }

        Assert.Equal(exitCode, await worker.Process.ExitCodeAsync(Limit));
        Assert.Empty(Directory.GetFileSystemEntries(_folder.Path));
    }

    private async Task ServesAsync(WorkerProcess worker)
    {
        await worker.ReadyAsync(Limit);
        await using var client = await ConnectAsync();
        Assert.Equal(5, await CountAsync(await client.CallAsync(Body(1, 5), default)));
        Assert.DoesNotContain(worker.Process.Lines, line => line.Contains(" at Dynamo.", StringComparison.Ordinal));
    }

    private static void AssertOneLine(WorkerProcess worker, string text)
    {
        Assert.Single(
            worker.Process.Lines,
            line => line.Contains(text, StringComparison.Ordinal) && line.Contains("error:", StringComparison.Ordinal)
        );
        Assert.DoesNotContain(worker.Process.Lines, line => line.Contains(" at Dynamo.", StringComparison.Ordinal));
    }

    private string CopyModel()
    {
        foreach (var file in Directory.GetFiles(Path.Combine(SimulatedPaths.SimulatedEngine, "model")))
        {
            File.Copy(file, Path.Combine(_folder.Path, Path.GetFileName(file)));
        }

        return _folder.Path;
    }
}
