using System.ComponentModel;

namespace Dynamo.Vllm.Testing.Servers;

/// <summary>A real server as a child process. A missing program fails the test; nothing is skipped.</summary>
public sealed class ServerProcess : IAsyncDisposable
{
    private static readonly TimeSpan StartTimeLimit = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan EndTimeLimit = TimeSpan.FromSeconds(20);

    private readonly ChildProcess _process;

    private ServerProcess(ChildProcess process) => _process = process;

    /// <summary>Starts the program and waits for a line that contains <paramref name="readyText"/>.</summary>
    public static async Task<ServerProcess> StartAsync(string program, IEnumerable<string> arguments, string readyText, string howToGet)
    {
        ChildProcess process;
        try
        {
            process = new ChildProcess(Path.GetFileName(program), program, arguments, new Dictionary<string, string>());
        }
        catch (Win32Exception exception)
        {
            throw new InvalidOperationException(
                $"this test needs {program}, which cannot be started ({exception.Message}): {howToGet}",
                exception
            );
        }

        try
        {
            await process.LineAsync(readyText, StartTimeLimit);
            return new ServerProcess(process);
        }
        catch
        {
            await process.DisposeAsync();
            throw;
        }
    }

    /// <summary>Stops the process in its tracks: its sockets stay open and nothing answers.</summary>
    public void Freeze() => _process.Signal("STOP");

    public void Thaw() => _process.Signal("CONT");

    public Task TerminateAsync() => EndAsync("TERM");

    public Task KillAsync() => EndAsync("KILL");

    public void Signal(string signal) => _process.Signal(signal);

    public ValueTask DisposeAsync() => _process.DisposeAsync();

    private async Task EndAsync(string signal)
    {
        if (!_process.HasExited)
        {
            _process.Signal(signal);
            await _process.ExitCodeAsync(EndTimeLimit);
        }
    }
}
