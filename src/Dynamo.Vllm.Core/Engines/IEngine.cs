using Dynamo.Vllm.Protocol.Errors;

namespace Dynamo.Vllm.Core.Engines;

/// <summary>The engine as the worker's logic sees it. Thread-safe; no member blocks.</summary>
public interface IEngine
{
    /// <summary>Valid once the engine has started.</summary>
    EngineDescription Description { get; }

    /// <summary>Requests that were submitted and have not ended.</summary>
    int RunningRequests { get; }

    /// <summary>Grows whenever the engine has made steps; by how much says nothing.</summary>
    long Steps { get; }

    /// <summary>Ends with the reason when the engine is gone for good.</summary>
    Task<string> Died { get; }

    /// <summary>Called for each engine step and rank, on the delivery loop: copy and leave. What it throws is logged.</summary>
    event Action<EngineLoad>? LoadChanged;

    /// <summary>What it can be told and asked beside requests.</summary>
    IEngineControl Control { get; }

    /// <summary>Starts a request.</summary>
    /// <exception cref="Protocol.Errors.RequestFailedException">The engine is gone, or its mailbox is full.</exception>
    IEngineStream Submit(EngineRequest request);

    /// <summary>Fails every running request for its caller. The engine, which
    /// does not listen now, is told to stop them when it listens again.</summary>
    void ReleaseRequests(DynamoError error);
}
