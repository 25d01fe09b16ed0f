using System.ComponentModel;
using System.Diagnostics;

namespace Dynamo.Vllm.Worker.Help;

/// <summary>What a small program of the system prints.</summary>
internal static class ToolOutput
{
    /// <summary>As the reference's limit for the driver's tool, which takes seconds when a card is sick.</summary>
    private static readonly TimeSpan TimeLimit = TimeSpan.FromSeconds(5);

    /// <summary>Standard output, or null if the program is missing, fails, or does not end in time. Blocks meanwhile.</summary>
    public static string? Read(string program, params string[] arguments)
    {
        try
        {
            using var process = Process.Start(
                new ProcessStartInfo(program, arguments)
                {
                    RedirectStandardOutput = true,
                    RedirectStandardError = true,
                    UseShellExecute = false,
                }
            )!;
            _ = process.StandardError.ReadToEndAsync();
            var output = process.StandardOutput.ReadToEndAsync();
            if (!output.Wait(TimeLimit) || !process.WaitForExit(TimeLimit))
            {
                process.Kill(entireProcessTree: true);
                return null;
            }

            return process.ExitCode == 0 ? output.Result : null;
        }
        catch (Exception exception) when (exception is Win32Exception or InvalidOperationException or IOException)
        {
            return null; // no such program
        }
    }
}
