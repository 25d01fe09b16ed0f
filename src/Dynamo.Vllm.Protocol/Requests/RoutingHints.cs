namespace Dynamo.Vllm.Protocol.Requests;

/// <summary>What a router decided for this request, as far as a worker acts on it (llm.md, 2.4).</summary>
public sealed class RoutingHints
{
    /// <summary>Global data-parallel rank, present when a KV router chose the worker.</summary>
    public int? DataParallelRank { get; set; }

    /// <summary>Higher is more urgent; the engine counts the other way round.</summary>
    public int Priority { get; set; }
}
