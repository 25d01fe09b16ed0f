using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Engines;

namespace Dynamo.Vllm.UnitTests.Core;

/// <summary>Control calls that a test answers, by the name of the member without "Async".</summary>
internal sealed class ScriptedControl : IEngineControl
{
    /// <summary>Throws what the call is to fail with.</summary>
    public Action<string> OnCall { get; set; } = _ => { };

    /// <summary>In place of <see cref="OnCall"/>, for answers that come later or never.</summary>
    public Func<string, Task>? OnCallAsync { get; set; }

    public bool CacheCanBeReset { get; set; } = true;

    public List<string> Calls { get; } = [];

    public Task CheckHealthAsync(CancellationToken cancellationToken) => CallAsync("CheckHealth");

    public Task RoundTripAsync(CancellationToken cancellationToken) => CallAsync("RoundTrip");

    public async Task<string> ReadMetricsAsync(CancellationToken cancellationToken)
    {
        await CallAsync("ReadMetrics");
        return "";
    }

    public Task LogStatisticsAsync(CancellationToken cancellationToken) => CallAsync("LogStatistics");

    public async Task<JsonObject> ReadInstalledPackagesAsync(CancellationToken cancellationToken)
    {
        await CallAsync("ReadInstalledPackages");
        return [];
    }

    public async Task<bool> ResetPrefixCacheAsync(bool resetConnector, bool resetRunningRequests, CancellationToken cancellationToken)
    {
        await CallAsync("ResetPrefixCache");
        return CacheCanBeReset;
    }

    public Task PauseAsync(PauseMode mode, bool clearCache, CancellationToken cancellationToken) => CallAsync("Pause");

    public Task ResumeAsync(CancellationToken cancellationToken) => CallAsync("Resume");

    public Task SleepAsync(JsonNode? level, CancellationToken cancellationToken) => CallAsync("Sleep");

    public Task WakeUpAsync(JsonNode? tags, CancellationToken cancellationToken) => CallAsync("WakeUp");

    public Task StartProfileAsync(JsonNode? prefix, CancellationToken cancellationToken) => CallAsync("StartProfile");

    public Task StopProfileAsync(CancellationToken cancellationToken) => CallAsync("StopProfile");

    public Task AddLoraAsync(string name, int id, string path, CancellationToken cancellationToken) => CallAsync("AddLora");

    public Task RemoveLoraAsync(int id, CancellationToken cancellationToken) => CallAsync("RemoveLora");

    /// <summary>The last call on the engine's processes: the name and the arguments.</summary>
    public string WorkersCall { get; private set; } = "";

    public JsonObject Parallelism { get; set; } = [];

    public JsonObject GpuCapacity { get; set; } = [];

    public Task CallWorkersAsync(JsonNode? method, JsonObject arguments, CancellationToken cancellationToken)
    {
        WorkersCall = $"{method} {arguments.ToJsonString()}";
        return CallAsync("CallWorkers");
    }

    public async Task<JsonObject> ReadParallelismAsync(CancellationToken cancellationToken)
    {
        await CallAsync("ReadParallelism");
        return Parallelism.DeepClone().AsObject();
    }

    public async Task<JsonObject> ReadGpuCapacityAsync(CancellationToken cancellationToken)
    {
        await CallAsync("ReadGpuCapacity");
        return GpuCapacity.DeepClone().AsObject();
    }

    public Task ScaleAsync(long dataParallelSize, CancellationToken cancellationToken) => CallAsync("Scale");

    private async Task CallAsync(string name)
    {
        Calls.Add(name);
        if (OnCallAsync is { } later)
        {
            await later(name);
            return;
        }

        OnCall(name);
    }
}
