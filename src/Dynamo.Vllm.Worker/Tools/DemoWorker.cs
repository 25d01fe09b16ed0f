using System.Diagnostics;
using System.Globalization;

namespace Dynamo.Vllm.Worker.Tools;

/// <summary>A worker of our own in a process of its own, on the simulated engine and a private file discovery store.</summary>
internal sealed class DemoWorker : IAsyncDisposable
{
    private readonly Process _process;
    private readonly StringWriter _log = new(CultureInfo.InvariantCulture);

    // Not on the reader of the log.
    private readonly TaskCompletionSource<int> _port = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public DemoWorker(string store, string model)
    {
        Store = store;
        var start = new ProcessStartInfo(Environment.ProcessPath!)
        {
            UseShellExecute = false,
            RedirectStandardError = true,
            RedirectStandardOutput = true,
        };
        if (Path.GetFileNameWithoutExtension(Environment.ProcessPath) == "dotnet")
        {
            start.ArgumentList.Add(typeof(DemoWorker).Assembly.Location);
        }

        foreach (
            var argument in (string[])
                [
                    "--discovery-backend",
                    "file",
                    "--simulated-engine",
                    "--model",
                    model,
                    "--served-model-name",
                    "demo",
                    "--max-model-len",
                    "1024",
                    "--simulated-step-time-ms",
                    "40",
                ]
        )
        {
            start.ArgumentList.Add(argument);
        }

        start.Environment["DYN_FILE_KV"] = store;
        start.Environment["DYN_TCP_RPC_HOST"] = "127.0.0.1";
        start.Environment["DYN_SYSTEM_HOST"] = "127.0.0.1";
        start.Environment["DYN_SYSTEM_PORT"] = "0";
        start.Environment["DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS"] = "0.5";
        start.Environment["DYN_LOG"] = "info";
        _process = Process.Start(start)!;
        _process.ErrorDataReceived += (_, line) => Read(line.Data);
        _process.OutputDataReceived += (_, line) => Read(line.Data);
        _process.BeginErrorReadLine();
        _process.BeginOutputReadLine();
        _process.EnableRaisingEvents = true;
        _process.Exited += (_, _) => _port.TrySetException(new InvalidOperationException("the worker ended while it started"));
    }

    public string Store { get; }

    public int ProcessId => _process.Id;

    /// <summary>Port of the status server.</summary>
    public Task<int> Port => _port.Task;

    public string Log
    {
        get
        {
            lock (_log)
            {
                return _log.ToString();
            }
        }
    }

    /// <summary>SIGTERM, as Kubernetes and systemd send it.</summary>
    public void Terminate() => Process.Start("kill", ["-TERM", _process.Id.ToString(CultureInfo.InvariantCulture)]).WaitForExit();

    public async Task<int> WaitForExitAsync(CancellationToken cancellationToken)
    {
        await _process.WaitForExitAsync(cancellationToken).ConfigureAwait(false);
        return _process.ExitCode;
    }

    public async ValueTask DisposeAsync()
    {
        if (!_process.HasExited)
        {
            _process.Kill(entireProcessTree: true);
            await _process.WaitForExitAsync().ConfigureAwait(false);
        }

        _process.Dispose();
    }

    private void Read(string? line)
    {
        if (line is null)
        {
            return;
        }

        lock (_log)
        {
            _log.WriteLine(line);
        }

        const string mark = "System status server listens on ";
        var at = line.IndexOf(mark, StringComparison.Ordinal);
        if (at >= 0)
        {
            _port.TrySetResult(System.Net.IPEndPoint.Parse(line[(at + mark.Length)..]).Port);
        }
    }
}
