using Dynamo.Vllm.Engine.Processes;
using Dynamo.Vllm.Worker.Hosting;

namespace Dynamo.Vllm.Worker.Doctor;

/// <summary>What workers that were killed have left behind: processes, sockets, shared memory.</summary>
internal static class OrphansCheck
{
    /// <summary>What has just been made may not be open yet.</summary>
    private static readonly TimeSpan AgeMin = TimeSpan.FromMinutes(1);

    private const int NamedMax = 8;

    public static Task LookAsync(Findings findings, CancellationToken cancellationToken)
    {
        LookAtProcesses(findings);
        LookAtFolders(findings);
        LookAtSharedMemory(findings);
        if (findings.All.Count == 0)
        {
            findings.Ok("no engine, socket or shared memory is left over");
        }

        return Task.CompletedTask;
    }

    private static void LookAtProcesses(Findings findings)
    {
        // In a container process 1 is often a worker, and its engine is no orphan.
        var first = ProcFiles.Read("/proc/1/cmdline");
        if (first.Contains("Dynamo.Vllm.Worker", StringComparison.Ordinal) || first.Contains("dynamo.vllm", StringComparison.Ordinal))
        {
            return;
        }

        foreach (var (name, id) in OrphanProcesses.Find())
        {
            findings.Problem($"{name} (process {id}) is left over from an earlier worker and may hold the GPU", $"kill {id}");
        }
    }

    private static void LookAtFolders(Findings findings)
    {
        string[] left = [.. WorkerFolder.Abandoned(Path.GetTempPath())];
        if (left.Length > 0)
        {
            findings.Warning(
                $"{left.Length} folders of workers that are gone: {Names(left)}",
                $"the next worker that starts here removes them, as does rm -r {Names(left)}"
            );
        }
    }

    private static void LookAtSharedMemory(Findings findings)
    {
        if (!Directory.Exists("/dev/shm"))
        {
            return;
        }

        // Python's shared memory, and what NCCL and UCX make for the processes of an engine.
        var files = new[] { "psm_*", "nccl-*", "ucx_*", "vllm*" }
            .SelectMany(pattern => new DirectoryInfo("/dev/shm").EnumerateFiles(pattern))
            .Where(file => IsOld(file.FullName))
            .ToDictionary(file => file.FullName, StringComparer.Ordinal);
        if (files.Count == 0)
        {
            return;
        }

        foreach (var id in ProcFiles.Processes())
        {
            foreach (
                var line in ProcFiles
                    .Read($"/proc/{id}/maps")
                    .Split('\n')
                    .Where(line => line.Contains("/dev/shm/", StringComparison.Ordinal))
            )
            {
                files.Remove(line[line.IndexOf("/dev/shm/", StringComparison.Ordinal)..]);
            }

            foreach (var opened in ProcFiles.Opened(id))
            {
                files.Remove(opened);
            }
        }

        if (files.Count > 0)
        {
            var bytes = Sizes.Text(files.Values.Sum(file => file.Length));
            findings.Warning(
                $"{files.Count} files of shared memory that nobody seen from here has open, {bytes}: " + Names(files.Keys),
                $"if they are of engines that are gone: rm {Names(files.Keys)}"
            );
        }
    }

    private static bool IsOld(string path) => DateTime.UtcNow - File.GetLastWriteTimeUtc(path) > AgeMin;

    private static string Names(IReadOnlyCollection<string> paths) =>
        string.Join(' ', paths.Take(NamedMax)) + (paths.Count > NamedMax ? " ..." : "");
}
