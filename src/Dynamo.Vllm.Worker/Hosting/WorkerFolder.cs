namespace Dynamo.Vllm.Worker.Hosting;

/// <summary>The one temporary folder of this worker, for what its engine leaves behind: sockets and files of metrics.</summary>
/// <remarks>
/// It goes with the worker. One that was killed cannot take its own along, so whoever creates one removes those that nobody holds any more:
/// a living worker holds a lock on a file in its own, which the kernel lets go with the process, also across containers that share a disk.
/// </remarks>
internal sealed class WorkerFolder : IDisposable
{
    private const string Prefix = "dynamo-vllm-";
    private const string LockName = "held";

    /// <summary>Of a folder whose lock is not held yet.</summary>
    private const string UnfinishedSuffix = ".new";

    /// <summary>Of the folders of others that one start looks at; the next one looks on.</summary>
    private const int LooksMax = 256;

    private readonly FileStream _held;

    private WorkerFolder(string path, FileStream held, int removed)
    {
        Path = path;
        Removed = removed;
        _held = held;
    }

    public string Path { get; }

    /// <summary>Folders of workers that are no more, removed on this occasion.</summary>
    public int Removed { get; }

    /// <summary>Where Python, too, puts temporary files.</summary>
    /// <param name="environment">Names the places.</param>
    /// <exception cref="Configuration.ConfigurationException">None of them takes a file.</exception>
    public static WorkerFolder Create(IReadOnlyDictionary<string, string> environment)
    {
        var unfinished = TemporaryFolders.Create(Prefix, environment, UnfinishedSuffix);
        if (!OperatingSystem.IsWindows())
        {
            File.SetUnixFileMode(unfinished, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }

        var held = Hold(unfinished);
        var path = unfinished[..^UnfinishedSuffix.Length];
        Directory.Move(unfinished, path); // with its lock: nobody sees it without
        return new WorkerFolder(path, held, RemoveAbandoned(System.IO.Path.GetDirectoryName(path)!, path));
    }

    /// <summary>A folder within.</summary>
    public string Add(string name) => Directory.CreateDirectory(System.IO.Path.Combine(Path, name)).FullName;

    /// <exception cref="IOException">Something in it cannot be removed.</exception>
    public void Dispose()
    {
        _held.Dispose();
        Directory.Delete(Path, recursive: true);
    }

    private static FileStream Hold(string folder) =>
        new(System.IO.Path.Combine(folder, LockName), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, bufferSize: 0);

    private static bool IsHeld(string folder)
    {
        try
        {
            Hold(folder).Dispose();
            return false;
        }
        catch (IOException)
        {
            return true;
        }
    }

    /// <summary>Those of workers that are no more.</summary>
    /// <param name="place">Where temporary files go.</param>
    public static IEnumerable<string> Abandoned(string place) => Of(place).Where(folder => TryTake(folder, _ => { }));

    private static int RemoveAbandoned(string place, string own) =>
        Of(place).Count(folder => folder != own && TryTake(folder, abandoned => Directory.Delete(abandoned, recursive: true)));

    private static IEnumerable<string> Of(string place) =>
        Directory
            .EnumerateDirectories(place, Prefix + "*")
            .Where(folder => !folder.EndsWith(UnfinishedSuffix, StringComparison.Ordinal))
            .Take(LooksMax)
            .ToList(); // before any of them goes

    /// <returns>False if a living worker holds it, if it is another user's, or none at all.</returns>
    private static bool TryTake(string folder, Action<string> use)
    {
        try
        {
            if (!File.Exists(System.IO.Path.Combine(folder, LockName)))
            {
                return false;
            }

            using var held = Hold(folder);
            if (!IsHeld(folder))
            {
                return false; // a disk without locks: every folder would look abandoned
            }

            use(folder);
            return true;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // Best-effort cleanup (style E3): it is held, or not for us to touch; the next start looks again.
            return false;
        }
    }
}
