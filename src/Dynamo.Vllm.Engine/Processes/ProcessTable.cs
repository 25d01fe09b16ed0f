using System.Globalization;

namespace Dynamo.Vllm.Engine.Processes;

/// <summary>The processes of this machine, out of /proc.</summary>
internal static class ProcessTable
{
    /// <summary>Those that could be read; what ends in between is left out.</summary>
    public static IEnumerable<ProcessEntry> Read()
    {
        foreach (var folder in Directory.EnumerateDirectories("/proc"))
        {
            if (int.TryParse(Path.GetFileName(folder), NumberStyles.None, CultureInfo.InvariantCulture, out var id) && TryRead(id) is { } entry)
            {
                yield return entry;
            }
        }
    }

    private static ProcessEntry? TryRead(int id)
    {
        try
        {
            // id (name) state parent ...; the name may hold anything, so the fields behind it are counted from the last parenthesis.
            var text = File.ReadAllText($"/proc/{id}/stat");
            var end = text.LastIndexOf(')');
            var fields = text[(end + 2)..].Split(' ');
            return new ProcessEntry(id, text[(text.IndexOf('(', StringComparison.Ordinal) + 1)..end], int.Parse(fields[1], CultureInfo.InvariantCulture), fields[0] == "Z");
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
