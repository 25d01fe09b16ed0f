namespace Dynamo.Vllm.Testing.Servers;

/// <summary>Where the programs of real servers lie: chosen by a variable, among the peers, or installed by the system.</summary>
public static class ServerPrograms
{
    public const string Nats = "nats-server";
    public const string Etcd = "etcd";

    /// <summary>Full path, or null if it is nowhere. <c>DYNAMO_NATS_SERVER</c> chooses another version of that one.</summary>
    public static string? Find(string program)
    {
        if (program == Nats && Environment.GetEnvironmentVariable("DYNAMO_NATS_SERVER") is { Length: > 0 } chosen)
        {
            return chosen;
        }

        var folders = new List<string>();
        if (Peers.Folder is { } peers)
        {
            folders.Add(Path.Combine(peers, "bin"));
        }

        folders.AddRange((Environment.GetEnvironmentVariable("PATH") ?? "").Split(':', StringSplitOptions.RemoveEmptyEntries));
        folders.Add("/usr/sbin"); // where Debian puts nats-server, and not on every user's PATH
        return folders.Select(folder => Path.Combine(folder, program)).FirstOrDefault(File.Exists);
    }

    /// <summary>Why a test that needs the program is skipped; null in CI, where it fails instead.</summary>
    public static string? SkipReason(string program) =>
        Find(program) is null && Environment.GetEnvironmentVariable("CI") != "true"
            ? $"needs {program}: apt-get install {(program == Etcd ? "etcd-server" : program)}, or run tests/peers/setup"
            : null;
}
