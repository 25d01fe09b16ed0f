using System.Text.Json;
using System.Text.Json.Nodes;

namespace Dynamo.Vllm.Transports.Client;

/// <summary>Reads a file discovery store as a caller does.</summary>
public static class FileDirectoryReader
{
    /// <summary>TCP addresses of the instances that serve <paramref name="endpoint"/>.</summary>
    public static IReadOnlyList<string> FindTcp(string root, string endpoint) => Find(root, endpoint, "tcp");

    /// <summary>Addresses on the request plane <c>tcp</c> or <c>nats_tcp</c>
    /// of the instances that serve <paramref name="endpoint"/>.</summary>
    public static IReadOnlyList<string> Find(string root, string endpoint, string transport)
    {
        var folder = Path.Combine(root, "v1", "instances");
        if (!Directory.Exists(folder))
        {
            return [];
        }

        var found = new List<string>();
        foreach (
            var path in Directory
                .EnumerateFiles(folder)
                .Where(path => !Path.GetFileName(path).StartsWith(".tmp_", StringComparison.Ordinal))
        )
        {
            try
            {
                var record = JsonNode.Parse(File.ReadAllText(path));
                if (
                    record?["endpoint"]?.GetValue<string>() == endpoint
                    && record["transport"]?[transport]?.GetValue<string>() is { } address
                )
                {
                    found.Add(address);
                }
            }
            catch (Exception exception) when (exception is IOException or JsonException)
            {
                // Withdrawn in between.
            }
        }

        return found;
    }
}
