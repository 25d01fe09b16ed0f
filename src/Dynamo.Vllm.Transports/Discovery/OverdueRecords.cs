namespace Dynamo.Vllm.Transports.Discovery;

/// <summary>Files of a store whose age says that something is wrong.</summary>
/// <param name="Expired">Nobody has touched them for longer than a record lives: their processes are gone, or stand still.</param>
/// <param name="Ahead">How far the newest record is ahead of this host's clock; zero where none is.</param>
public sealed record OverdueRecords(IReadOnlyList<string> Expired, TimeSpan Ahead)
{
    /// <exception cref="IOException">The store cannot be read.</exception>
    public static OverdueRecords Read(string root, DateTimeOffset now)
    {
        var expired = new List<string>();
        var ahead = TimeSpan.Zero;
        if (Directory.Exists(root))
        {
            foreach (var file in new DirectoryInfo(root).EnumerateFiles("*", SearchOption.AllDirectories).Where(IsRecord))
            {
                var age = now.UtcDateTime - file.LastWriteTimeUtc;
                ahead = -age > ahead ? -age : ahead;
                if (age > FileRecords.Lifetime)
                {
                    expired.Add(file.FullName);
                }
            }
        }

        return new OverdueRecords(expired, ahead);
    }

    /// <summary>Locks and half-written files begin with a dot.</summary>
    private static bool IsRecord(FileInfo file) => file.Exists && !file.Name.StartsWith('.');
}
