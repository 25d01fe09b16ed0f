using System.Globalization;

namespace Dynamo.Vllm.Engine.Processes;

/// <summary>Engine processes whose worker is gone: they keep GPU memory, and the next worker wonders why there is none.</summary>
public static class OrphanProcesses
{
    /// <summary>Processes named like vLLM's that were adopted by init.</summary>
    public static IReadOnlyList<(string Name, int Id)> Find()
    {
        var found = new List<(string, int)>();
        foreach (var folder in Directory.EnumerateDirectories("/proc"))
        {
            if (!int.TryParse(Path.GetFileName(folder), NumberStyles.None, CultureInfo.InvariantCulture, out var id))
            {
                continue;
            }

            try
            {
                var name = File.ReadAllText(Path.Combine(folder, "comm")).Trim();
                var stat = File.ReadAllText(Path.Combine(folder, "stat"));
                var parent = stat[(stat.LastIndexOf(')') + 2)..].Split(' ')[1];
                if (name.StartsWith("VLLM::", StringComparison.Ordinal) && parent == "1")
                {
                    found.Add((name, id));
                }
            }
            catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
            {
                // It ended in between.
            }
        }

        return found;
    }
}
