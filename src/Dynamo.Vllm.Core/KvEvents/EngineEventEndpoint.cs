using System.Globalization;

namespace Dynamo.Vllm.Core.KvEvents;

/// <summary>Where a rank of the engine publishes (kv-and-load.md, 2.1).</summary>
public static class EngineEventEndpoint
{
    /// <summary>The configured endpoint for a global rank, with a wildcard host replaced by the loopback address.</summary>
    public static string OfRank(string endpoint, int rank) =>
        BoundBy(endpoint.Replace("*", "127.0.0.1", StringComparison.Ordinal).Replace("[::]", "[::1]", StringComparison.Ordinal), rank);

    /// <summary>The same as the rank binds it, where a host may be a wildcard.</summary>
    public static string BoundBy(string endpoint, int rank)
    {
        if (rank == 0)
        {
            return endpoint;
        }

        if (endpoint.StartsWith("inproc://", StringComparison.Ordinal))
        {
            return $"{endpoint}_dp{rank.ToString(CultureInfo.InvariantCulture)}";
        }

        var colon = endpoint.LastIndexOf(':');
        var hasPort = int.TryParse(endpoint.AsSpan(colon + 1), NumberStyles.None, CultureInfo.InvariantCulture, out var port);
        return endpoint.StartsWith("tcp://", StringComparison.Ordinal) && hasPort && port != 0
            ? string.Create(CultureInfo.InvariantCulture, $"{endpoint[..colon]}:{port + rank}")
            : endpoint;
    }
}
