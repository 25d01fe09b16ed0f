using System.Globalization;

namespace Dynamo.Vllm.Python.Platform;

/// <summary>The endpoints of .NET's diagnostic tools, which are files in the temporary folder.</summary>
public static class DiagnosticFiles
{
    /// <summary>Removes this process's. The runtime would, but not on the way out that the interpreter leaves us (<see
    /// cref="ProcessEnvironment.ExitImmediately"/>).</summary>
    public static void Remove()
    {
        // Both names end in the process id and, since ids come again, the start
        // time, field 22 of its stat line; the name in it may hold anything.
        var stat = File.ReadAllText("/proc/self/stat");
        var key = $"{Environment.ProcessId.ToString(CultureInfo.InvariantCulture)}-{stat[(stat.LastIndexOf(')') + 2)..].Split(' ')[19]}";
        foreach (
            var name in (ReadOnlySpan<string>)[$"dotnet-diagnostic-{key}-socket", $"clr-debug-pipe-{key}-in", $"clr-debug-pipe-{key}-out"]
        )
        {
            try
            {
                File.Delete(Path.Combine(Path.GetTempPath(), name));
            }
            catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
            {
                // Best-effort cleanup (style E3): the temporary folder is gone, and they with it.
            }
        }
    }
}
