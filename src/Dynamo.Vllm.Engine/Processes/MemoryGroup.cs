using System.Globalization;

namespace Dynamo.Vllm.Engine.Processes;

/// <summary>The memory control group that this process and the engine's live in, and whom the kernel has killed there.</summary>
/// <remarks>
/// An engine that is killed for want of memory says nothing, and what is left of it looks like any other death. The kernel counts such
/// kills: <c>memory.events</c> of version 2, <c>memory.oom_control</c> of version 1 (cgroups(7)).
/// </remarks>
public sealed class MemoryGroup
{
    private readonly string _countFile;
    private readonly string _limitFile;
    private readonly long _killsAtFirst;

    private MemoryGroup(string countFile, string limitFile, long kills)
    {
        _countFile = countFile;
        _limitFile = limitFile;
        _killsAtFirst = kills;
    }

    /// <param name="groups">What <c>/proc/self/cgroup</c> says.</param>
    /// <param name="root">Where the groups are mounted.</param>
    /// <returns>Null where there is none, or it cannot be read.</returns>
    public static MemoryGroup? Find(string groups, string root)
    {
        foreach (var line in groups.Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            var parts = line.Split(':', 3);
            var group =
                parts is not [_, var controllers, var path] ? null
                : controllers.Length == 0 ? Open(root, path, "memory.events", "memory.max")
                : controllers.Split(',').Contains("memory")
                    ? Open(Path.Combine(root, "memory"), path, "memory.oom_control", "memory.limit_in_bytes")
                : null;
            if (group is not null)
            {
                return group;
            }
        }

        return null;
    }

    /// <summary>That of this process.</summary>
    public static MemoryGroup? OfThisProcess() => Read("/proc/self/cgroup") is { } groups ? Find(groups, "/sys/fs/cgroup") : null;

    /// <summary>How many processes of it the kernel has killed for want of memory, also before this one began.</summary>
    public long Kills => Count(_countFile) ?? 0;

    /// <summary>Null where it has none of its own. Version 2 writes "max" then, version 1 a number near 2^63.</summary>
    public long? LimitBytes =>
        long.TryParse(Read(_limitFile), CultureInfo.InvariantCulture, out var bytes) && bytes < long.MaxValue / 2 ? bytes : null;

    /// <summary>Where the kernel keeps its count.</summary>
    public string CountFile => _countFile;

    /// <summary>What an operator should know about a death; null if the kernel has killed nobody since the start.</summary>
    public string? DescribeKills()
    {
        var kills = Count(_countFile) - _killsAtFirst;
        if (kills is not > 0)
        {
            return null;
        }

        var limit = LimitBytes is { } bytes
            ? string.Create(CultureInfo.InvariantCulture, $"its limit is {bytes / 1048576} MiB")
            : "it has no limit of its own";
        return $"the kernel killed {kills} of this worker's processes for want of memory ({_countFile}; {limit})";
    }

    /// <summary>In a container the path is often that of the host, and the group itself is what is mounted.</summary>
    private static MemoryGroup? Open(string root, string path, string countFile, string limitFile)
    {
        foreach (var folder in (string[])[root + path.TrimEnd('/'), root])
        {
            var file = Path.Combine(folder, countFile);
            if (Count(file) is { } kills)
            {
                return new MemoryGroup(file, Path.Combine(folder, limitFile), kills);
            }
        }

        return null;
    }

    private static long? Count(string file)
    {
        foreach (var line in Read(file)?.Split('\n') ?? [])
        {
            if (line.Split(' ') is ["oom_kill", var count] && long.TryParse(count, CultureInfo.InvariantCulture, out var kills))
            {
                return kills;
            }
        }

        return null;
    }

    private static string? Read(string file)
    {
        try
        {
            return File.ReadAllText(file);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return null; // it only helps to explain a death
        }
    }
}
