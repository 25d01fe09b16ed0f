using System.Collections.Frozen;

namespace Dynamo.Vllm.Protocol.Errors;

/// <summary>Reasons on which a frontend with migration sends the request to another worker (llm-errors.md, 4).</summary>
public static class MigratableReasons
{
    private static readonly FrozenSet<string> All = FrozenSet.Create(
        StringComparer.Ordinal,
        "transport.cannot_connect",
        "transport.disconnected",
        "transport.connection_timeout",
        "backend.cannot_connect",
        "backend.disconnected",
        "backend.connection_timeout",
        "backend.response_timeout",
        "backend.engine_shutdown",
        "backend.stream_incomplete",
        "backend.worker_unavailable",
        "capacity.worker_overloaded"
    );

    public static bool Contains(string reason) => All.Contains(reason);
}
