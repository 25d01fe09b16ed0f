namespace Dynamo.Vllm.IntegrationTests.Zmq;

/// <summary>Needs a Python with pyzmq: PEERS_PYTHON, or the peers in the user's cache. Skipped without one, which CI must not allow.</summary>
internal sealed class ZmqFactAttribute : FactAttribute
{
    public ZmqFactAttribute()
    {
        if (Python is null)
        {
            Skip = "no peers: PEERS_PYTHON is not set and ~/.cache/dynamo-peers is missing";
        }
    }

    public static string? Python { get; } = Find();

    private static string? Find()
    {
        var cached = Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".cache/dynamo-peers/venv/bin/python");
        return Environment.GetEnvironmentVariable("PEERS_PYTHON") ?? (File.Exists(cached) ? cached : null);
    }
}
