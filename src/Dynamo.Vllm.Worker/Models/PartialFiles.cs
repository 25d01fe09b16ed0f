using System.Text.RegularExpressions;

namespace Dynamo.Vllm.Worker.Models;

/// <summary>What the hub's library was writing when the process had to end.</summary>
internal static partial class PartialFiles
{
    /// <summary>Removes those that this process has open and that no other could continue, since their names are its own.</summary>
    /// <returns>How many.</returns>
    public static int RemoveOpen()
    {
        var removed = 0;
        foreach (var descriptor in Directory.EnumerateFileSystemEntries("/proc/self/fd"))
        {
            try
            {
                if (File.ResolveLinkTarget(descriptor, returnFinalTarget: false)?.FullName is { } path && Unique().IsMatch(path))
                {
                    File.Delete(path);
                    removed++;
                }
            }
            catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
            {
                // Best-effort cleanup (style E3): the next fetch removes what is an hour old.
            }
        }

        return removed;
    }

    [GeneratedRegex(@"\.[0-9a-f]{8}\.incomplete$")]
    private static partial Regex Unique();
}
