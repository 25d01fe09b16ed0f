namespace Dynamo.Vllm.Core.Generate;

/// <summary>Hears when a routed request produced its first token, so that routers can take off its prefill load (llm.md, 4).</summary>
public interface IFirstTokenSink
{
    /// <summary>Best effort; must not block.</summary>
    /// <param name="requestId">Context id.</param>
    /// <param name="dataParallelRank">Global rank that the router chose.</param>
    void NotifyFirstToken(string requestId, int dataParallelRank);
}
