using System.Text.Json;
using System.Text.Json.Nodes;

namespace Dynamo.Vllm.Core.Engines;

/// <summary>The engine as the worker's logic sees it. Thread-safe; no member blocks.</summary>
public interface IEngine
{
    /// <summary>Valid once the engine has started.</summary>
    EngineDescription Description { get; }

    /// <summary>Requests that were submitted and have not ended.</summary>
    int RunningRequests { get; }

    /// <summary>Monotonic time of the engine's last sign of life (<see cref="TimeProvider.GetTimestamp"/>).</summary>
    long LastProgress { get; }

    /// <summary>Ends with the reason when the engine is gone for good.</summary>
    Task<string> Died { get; }

    /// <summary>Called for each engine step and rank, on the delivery loop: copy and leave.</summary>
    event Action<EngineLoad>? LoadChanged;

    /// <summary>Starts a request.</summary>
    /// <exception cref="Protocol.Errors.RequestFailedException">The engine is gone, or its mailbox is full.</exception>
    IEngineStream Submit(EngineRequest request);

    /// <summary>A control call by name, with its arguments.</summary>
    /// <exception cref="EngineCallException">The engine refused or failed.</exception>
    Task<JsonElement> CallAsync(string method, JsonObject? arguments, CancellationToken cancellationToken);
}
