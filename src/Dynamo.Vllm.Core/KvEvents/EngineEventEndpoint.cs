using System.Globalization;

namespace Dynamo.Vllm.Core.KvEvents;

/// <summary>Where a rank of the engine publishes (kv-and-load.md, 2.1).</summary>
public static class EngineEventEndpoint
{
    /// <summary>The configured endpoint for a global rank, with a wildcard host replaced by the loopback address.</summary>
    public static string OfRank(string endpoint, int rank)
    {
        var local = endpoint.Replace("*", "127.0.0.1", StringComparison.Ordinal).Replace("[::]", "[::1]", StringComparison.Ordinal);
        if (rank == 0)
        {
            return local;
        }

        if (local.StartsWith("inproc://", StringComparison.Ordinal))
        {
            return $"{local}_dp{rank.ToString(CultureInfo.InvariantCulture)}";
        }

        var colon = local.LastIndexOf(':');
        var hasPort = int.TryParse(local.AsSpan(colon + 1), NumberStyles.None, CultureInfo.InvariantCulture, out var port);
        return local.StartsWith("tcp://", StringComparison.Ordinal) && hasPort && port != 0
            ? string.Create(CultureInfo.InvariantCulture, $"{local[..colon]}:{port + rank}")
            : local;
    }
}
