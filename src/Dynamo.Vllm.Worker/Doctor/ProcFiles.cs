using System.Globalization;

namespace Dynamo.Vllm.Worker.Doctor;

/// <summary>Who has what open, by <c>/proc</c>. Processes of other users show it to root alone.</summary>
internal static class ProcFiles
{
    private const string Listening = "0A";

    /// <summary>Inodes of the TCP sockets that listen, by port.</summary>
    public static ILookup<int, string> Listeners(IEnumerable<string> tables) =>
        tables
            .SelectMany(table => table.Split('\n').Skip(1))
            .Select(line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries))
            .Where(fields => fields.Length > 9 && fields[3] == Listening)
            .ToLookup(
                fields =>
                    int.Parse(
                        fields[1].AsSpan(fields[1].LastIndexOf(':') + 1),
                        NumberStyles.AllowHexSpecifier,
                        CultureInfo.InvariantCulture
                    ),
                fields => fields[9]
            );

    /// <summary>Who listens on the port: name and id of a process, or that it cannot be seen; null where nobody does.</summary>
    public static string? HolderOf(int port)
    {
        var listeners = Listeners(new[] { "/proc/net/tcp", "/proc/net/tcp6" }.Select(Read));
        var sockets = listeners[port].Select(inode => $"socket:[{inode}]").ToHashSet(StringComparer.Ordinal);
        if (sockets.Count == 0)
        {
            return null;
        }

        var holder = Processes().FirstOrDefault(id => Opened(id).Any(sockets.Contains));
        return holder == 0 ? "a process that this user cannot see" : Describe(holder);
    }

    public static string Describe(int id) => $"{Read($"/proc/{id}/comm").Trim()} (process {id})";

    public static IEnumerable<int> Processes() =>
        Directory
            .EnumerateDirectories("/proc")
            .Select(folder => int.TryParse(Path.GetFileName(folder), NumberStyles.None, CultureInfo.InvariantCulture, out var id) ? id : 0)
            .Where(id => id > 0);

    /// <summary>What the descriptors of a process lead to; nothing where that may not be seen.</summary>
    public static IEnumerable<string> Opened(int id)
    {
        try
        {
            return [.. Directory.EnumerateFiles($"/proc/{id}/fd").Select(file => new FileInfo(file).LinkTarget ?? "")];
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }

    /// <summary>Empty where it cannot be read.</summary>
    public static string Read(string file)
    {
        try
        {
            return File.ReadAllText(file);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return "";
        }
    }
}
