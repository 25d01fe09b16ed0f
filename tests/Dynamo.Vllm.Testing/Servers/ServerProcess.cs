using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Text;

namespace Dynamo.Vllm.Testing.Servers;

/// <summary>
/// A real server as a child process on a free port in a folder of its own. A missing program fails the test; nothing is skipped.
/// </summary>
public sealed partial class ServerProcess : IAsyncDisposable
{
    private const int SigKill = 9;
    private const int SigTerm = 15;
    private const int SigCont = 18;
    private const int SigStop = 19;

    private readonly Process _process;
    private readonly StringBuilder _output = new();
    private readonly TaskCompletionSource _ready = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly string _readyText;

    private ServerProcess(Process process, string readyText)
    {
        _process = process;
        _readyText = readyText;
        process.OutputDataReceived += (_, line) => Take(line.Data);
        process.ErrorDataReceived += (_, line) => Take(line.Data);
    }

    public int ProcessId => _process.Id;

    public string Output
    {
        get
        {
            lock (_output)
            {
                return _output.ToString();
            }
        }
    }

    /// <summary>Starts the program and waits for a line that contains <paramref name="readyText"/>.</summary>
    public static async Task<ServerProcess> StartAsync(string program, IEnumerable<string> arguments, string readyText, string howToGet)
    {
        var start = new ProcessStartInfo(program) { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (var argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }

        ServerProcess server;
        try
        {
            server = new ServerProcess(Process.Start(start)!, readyText);
        }
        catch (System.ComponentModel.Win32Exception exception)
        {
            throw new InvalidOperationException($"this test needs {program}, which cannot be started ({exception.Message}): {howToGet}", exception);
        }

        server._process.BeginOutputReadLine();
        server._process.BeginErrorReadLine();
        var exited = server._process.WaitForExitAsync();
        var first = await Task.WhenAny(server._ready.Task, exited, Task.Delay(TimeSpan.FromSeconds(30)));
        if (first != server._ready.Task)
        {
            var output = server.Output;
            await server.DisposeAsync();
            throw new InvalidOperationException($"{program} ended, or did not say '{readyText}' within 30 s. It said:{Environment.NewLine}{output}");
        }

        return server;
    }

    public static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    /// <summary>Stops the process in its tracks: its sockets stay open and nothing answers.</summary>
    public void Freeze() => Signal(ProcessId, SigStop);

    public void Thaw() => Signal(ProcessId, SigCont);

    public Task TerminateAsync() => EndAsync(SigTerm);

    public Task KillAsync() => EndAsync(SigKill);

    public void Send(int signal) => Signal(ProcessId, signal);

    public async ValueTask DisposeAsync()
    {
        await KillAsync();
        _process.Dispose();
    }

    [LibraryImport("libc.so.6", EntryPoint = "kill")]
    private static partial int Signal(int process, int signal);

    private async Task EndAsync(int signal)
    {
        if (_process.HasExited)
        {
            return;
        }

        Signal(ProcessId, signal);
        await _process.WaitForExitAsync().WaitAsync(TimeSpan.FromSeconds(20));
    }

    private void Take(string? line)
    {
        if (line is null)
        {
            return;
        }

        lock (_output)
        {
            _output.AppendLine(line);
        }

        if (line.Contains(_readyText, StringComparison.Ordinal))
        {
            _ready.TrySetResult();
        }
    }
}
