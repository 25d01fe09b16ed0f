using System.Diagnostics;

namespace Dynamo.Vllm.Engine.Processes;

/// <summary>The processes that vLLM started under this one.</summary>
public static class ChildProcesses
{
    /// <summary>Kills every descendant. For the ways out on which Python cannot be asked any more.</summary>
    /// <returns>Name and process id of each one that was still alive.</returns>
    public static IReadOnlyList<string> KillAll()
    {
        var killed = new List<string>();
        foreach (var id in Descendants(Environment.ProcessId))
        {
            try
            {
                using var process = Process.GetProcessById(id);
                var name = process.ProcessName;
                process.Kill();
                killed.Add($"{name} ({id})");
            }
            catch (Exception exception)
                when (exception is ArgumentException or InvalidOperationException or System.ComponentModel.Win32Exception)
            {
                // It ended by itself in between.
            }
        }

        return killed;
    }

    /// <summary>Waits for what is about to end by itself. Nobody tells when
    /// a grandchild is gone, so the table is read again and again.</summary>
    public static async Task WhenGoneAsync(TimeSpan limit)
    {
        var started = Stopwatch.GetTimestamp();
        while (Descendants(Environment.ProcessId).Count > 0 && Stopwatch.GetElapsedTime(started) < limit)
        {
            await Task.Delay(TimeSpan.FromMilliseconds(20)).ConfigureAwait(false);
        }
    }

    /// <summary>Process ids below <paramref name="root"/>, parents before children.</summary>
    public static IReadOnlyList<int> Descendants(int root) => [.. ProcessTable.Below(root).Select(entry => entry.Id)];
}
