using System.Text.Json.Nodes;

namespace Dynamo.Vllm.Core.Engines;

/// <summary>What the engine is told and asked beside requests. Thread-safe.</summary>
/// <remarks>
/// A cancelled call is given up by its caller alone; the engine may still do what was asked. Every call throws
/// <see cref="EngineCallException"/> when the engine refuses, fails or is gone. Values that clients send as any JSON go to the engine as
/// they are, which says what it cannot take; null is the engine's own default.
/// </remarks>
public interface IEngineControl
{
    /// <summary>vLLM's own health check. The interpreter answers it by itself.</summary>
    Task CheckHealthAsync(CancellationToken cancellationToken);

    /// <summary>A question that only the engine's process can answer.</summary>
    Task RoundTripAsync(CancellationToken cancellationToken);

    /// <summary>Prometheus text of vLLM's families.</summary>
    Task<string> ReadMetricsAsync(CancellationToken cancellationToken);

    /// <summary>vLLM's own line of statistics in the log.</summary>
    Task LogStatisticsAsync(CancellationToken cancellationToken);

    /// <summary>Versions by name of what is installed beside vLLM.</summary>
    Task<JsonObject> ReadInstalledPackagesAsync(CancellationToken cancellationToken);

    /// <param name="resetConnector">Blocks that a KV connector holds, too.</param>
    /// <param name="resetRunningRequests">Requests that run are begun again, so that none holds a block.</param>
    /// <param name="cancellationToken">Gives up waiting.</param>
    /// <returns>False if blocks are in use.</returns>
    Task<bool> ResetPrefixCacheAsync(bool resetConnector, bool resetRunningRequests, CancellationToken cancellationToken);

    Task PauseAsync(PauseMode mode, bool clearCache, CancellationToken cancellationToken);

    Task ResumeAsync(CancellationToken cancellationToken);

    Task SleepAsync(JsonNode? level, CancellationToken cancellationToken);

    Task WakeUpAsync(JsonNode? tags, CancellationToken cancellationToken);

    Task StartProfileAsync(JsonNode? prefix, CancellationToken cancellationToken);

    Task StopProfileAsync(CancellationToken cancellationToken);

    /// <param name="name">Name of the adapter.</param>
    /// <param name="id">Its number in the engine.</param>
    /// <param name="path">Folder on this host.</param>
    /// <param name="cancellationToken">Gives up waiting.</param>
    Task AddLoraAsync(string name, int id, string path, CancellationToken cancellationToken);

    Task RemoveLoraAsync(int id, CancellationToken cancellationToken);

    /// <summary>Calls a method of every process that holds a part of the model. What it returns is dropped.</summary>
    /// <param name="method">Its name.</param>
    /// <param name="arguments">By name.</param>
    /// <param name="cancellationToken">Gives up waiting.</param>
    Task CallWorkersAsync(JsonNode? method, JsonObject arguments, CancellationToken cancellationToken);

    /// <summary>How the model is spread now: <c>data_parallel_size</c>, <c>tensor_parallel_size</c> and others, in vLLM's words.</summary>
    Task<JsonObject> ReadParallelismAsync(CancellationToken cancellationToken);

    /// <summary>GPUs that ranks can be placed on: <c>total_gpus</c> and others; <c>problem</c> where it cannot be asked.</summary>
    Task<JsonObject> ReadGpuCapacityAsync(CancellationToken cancellationToken);

    /// <summary>Changes the number of data-parallel ranks. One that fails leaves an engine that nothing can repair.</summary>
    Task ScaleAsync(long dataParallelSize, CancellationToken cancellationToken);
}
