using System.Diagnostics;
using Dynamo.Vllm.Engine.Processes;
using Dynamo.Vllm.Python.Locating;

namespace Dynamo.Vllm.Worker.Tools;

/// <summary>What the worker needs on this machine.</summary>
internal static class DoctorTool
{
    public static async Task<int> RunAsync(string? python, TextWriter output, CancellationToken cancellationToken)
    {
        var isFine = true;
        await output
            .WriteLineAsync($"ok    .NET {Environment.Version} on {System.Runtime.InteropServices.RuntimeInformation.OSDescription}")
            .ConfigureAwait(false);
        try
        {
            var installation = PythonLocator.Locate(
                python ?? Environment.GetEnvironmentVariable("DYN_VLLM_PYTHON"),
                Environment.GetEnvironmentVariable
            );
            await output
                .WriteLineAsync(
                    $"ok    Python {installation.Major}.{installation.Minor} at {installation.Executable}, library "
                        + $"{installation.LibraryPath}"
                )
                .ConfigureAwait(false);
            var vllm = await VersionAsync(installation.Executable, cancellationToken).ConfigureAwait(false);
            await output
                .WriteLineAsync(
                    vllm is null
                        ? "miss  vLLM is not installed for this Python: only --simulated-engine works. Install vllm there, or choose "
                            + "another one with --python"
                        : $"ok    vLLM {vllm}"
                )
                .ConfigureAwait(false);
            isFine = vllm is not null;
        }
        catch (PythonNotUsableException exception)
        {
            isFine = false;
            await output.WriteLineAsync($"miss  {exception.Message}").ConfigureAwait(false);
        }

        foreach (var (name, id) in OrphanProcesses.Find())
        {
            isFine = false;
            await output
                .WriteLineAsync($"warn  {name} (process {id}) is left over from an earlier worker and may hold the GPU: kill {id}")
                .ConfigureAwait(false);
        }

        return isFine ? 0 : 1;
    }

    private static async Task<string?> VersionAsync(string executable, CancellationToken cancellationToken)
    {
        var start = new ProcessStartInfo(executable, ["-c", "from importlib.metadata import version; print(version('vllm'))"])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
        };
        using var process = Process.Start(start)!;
        var text = await process.StandardOutput.ReadToEndAsync(cancellationToken).ConfigureAwait(false);
        await process.WaitForExitAsync(cancellationToken).ConfigureAwait(false);
        return process.ExitCode == 0 ? text.Trim() : null;
    }
}
