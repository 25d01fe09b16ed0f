using System.Diagnostics;
using System.Globalization;

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
            catch (Exception exception) when (exception is ArgumentException or InvalidOperationException or System.ComponentModel.Win32Exception)
            {
                // It ended by itself in between.
            }
        }

        return killed;
    }

    /// <summary>Process ids below <paramref name="root"/>, parents before children.</summary>
    public static IReadOnlyList<int> Descendants(int root)
    {
        var parents = new Dictionary<int, int>();
        foreach (var folder in Directory.EnumerateDirectories("/proc"))
        {
            if (int.TryParse(Path.GetFileName(folder), NumberStyles.None, CultureInfo.InvariantCulture, out var id) && ParentOf(id) is { } parent)
            {
                parents[id] = parent;
            }
        }

        var found = new List<int>();
        var level = new List<int> { root };
        while (level.Count > 0)
        {
            level = [.. parents.Where(pair => level.Contains(pair.Value)).Select(pair => pair.Key)];
            found.AddRange(level);
        }

        return found;
    }

    private static int? ParentOf(int id)
    {
        try
        {
            // The name in parentheses may hold anything, so the fields are counted from the last parenthesis: state, parent.
            var text = File.ReadAllText($"/proc/{id}/stat");
            var fields = text[(text.LastIndexOf(')') + 2)..].Split(' ');
            return fields[0] == "Z" ? null : int.Parse(fields[1], CultureInfo.InvariantCulture);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
