using Dynamo.Vllm.Protocol.Requests;

namespace Dynamo.Vllm.Core.Engines;

/// <summary>One request for an engine that tokenizes itself.</summary>
public sealed class TextEngineRequest
{
    /// <summary>Context id of the request; need not be unique.</summary>
    public required string RequestId { get; init; }

    public required TextRequest Options { get; init; }

    /// <summary>Local data-parallel rank; null lets the engine choose.</summary>
    public int? DataParallelRank { get; init; }

    /// <summary>Trace context for the engine's own spans; null without one.</summary>
    public IReadOnlyDictionary<string, string>? TraceHeaders { get; init; }
}
