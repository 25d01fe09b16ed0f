using System.Text.Json;
using System.Text.Json.Nodes;
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

    /// <summary>Called for each engine step and rank, on the delivery loop: copy and leave.</summary>
    event Action<EngineLoad>? LoadChanged;

    /// <summary>Starts a request.</summary>
    /// <exception cref="Protocol.Errors.RequestFailedException">The engine is gone, or its mailbox is full.</exception>
    IEngineStream Submit(EngineRequest request);

    /// <summary>Fails every running request for its caller. The engine, which
    /// does not listen now, is told to stop them when it listens again.</summary>
    void ReleaseRequests(DynamoError error);

    /// <summary>A control call by name, with its arguments.</summary>
    /// <exception cref="EngineCallException">The engine refused or failed.</exception>
    Task<JsonElement> CallAsync(string method, JsonObject? arguments, CancellationToken cancellationToken);
}
