using System.Globalization;

namespace Dynamo.Vllm.Engine.Processes;

/// <summary>The processes of this machine, out of /proc.</summary>
internal static class ProcessTable
{
    /// <summary>Kernel clock ticks in a second; the same on every architecture that .NET runs on.</summary>
    private const int TicksPerSecond = 100;

    /// <summary>Those that could be read; what ends in between is left out.</summary>
    public static IEnumerable<ProcessEntry> Read()
    {
        foreach (var folder in Directory.EnumerateDirectories("/proc"))
        {
            if (
                int.TryParse(Path.GetFileName(folder), NumberStyles.None, CultureInfo.InvariantCulture, out var id)
                && TryRead($"/proc/{id}/stat", id) is { } entry
            )
            {
                yield return entry;
            }
        }
    }

    /// <summary>What lives below <paramref name="root"/>, parents before children.</summary>
    public static IReadOnlyList<ProcessEntry> Below(int root)
    {
        var all = Read().Where(entry => !entry.HasEnded).ToList();
        var found = new List<ProcessEntry>();
        var level = new List<int> { root };
        while (level.Count > 0)
        {
            var next = all.Where(entry => level.Contains(entry.Parent)).ToList();
            found.AddRange(next);
            level = [.. next.Select(entry => entry.Id)];
        }

        return found;
    }

    /// <summary>A thread of the process runs, waits for a core, or for a disk.</summary>
    public static bool HasRunnableThread(int id)
    {
        try
        {
            return Directory.EnumerateDirectories($"/proc/{id}/task").Any(thread => TryRead($"{thread}/stat", id) is { State: 'R' or 'D' });
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return false; // it has ended
        }
    }

    /// <summary>Threads of the process that carry the name.</summary>
    public static IReadOnlyList<ProcessEntry> ThreadsNamed(int id, string name)
    {
        try
        {
            return
            [
                .. Directory
                    .EnumerateDirectories($"/proc/{id}/task")
                    .Select(thread => TryRead($"{thread}/stat", id))
                    .OfType<ProcessEntry>()
                    .Where(thread => thread.Name == name),
            ];
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return []; // it has ended
        }
    }

    /// <summary>What the process had fetched from storage; 0 where the kernel does not say.</summary>
    public static long BytesRead(int id)
    {
        const string field = "read_bytes: ";
        try
        {
            var line = File.ReadLines($"/proc/{id}/io").FirstOrDefault(line => line.StartsWith(field, StringComparison.Ordinal));
            return line is null ? 0 : long.Parse(line.AsSpan(field.Length), CultureInfo.InvariantCulture);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return 0;
        }
    }

    private static ProcessEntry? TryRead(string path, int id)
    {
        try
        {
            // id (name) state parent ...; the name may hold anything, so the fields behind it are counted from the last parenthesis.
            var text = File.ReadAllText(path);
            var end = text.LastIndexOf(')');
            var fields = text[(end + 2)..].Split(' ');
            var ticks = long.Parse(fields[11], CultureInfo.InvariantCulture) + long.Parse(fields[12], CultureInfo.InvariantCulture);
            return new ProcessEntry(
                id,
                text[(text.IndexOf('(', StringComparison.Ordinal) + 1)..end],
                int.Parse(fields[1], CultureInfo.InvariantCulture),
                fields[0][0],
                TimeSpan.FromSeconds((double)ticks / TicksPerSecond)
            );
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
