using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Engine.Guest;

namespace Dynamo.Vllm.Engine.Control;

/// <summary>Control calls by the names that <c>engine.py</c> gives them (<c>call_...</c>).</summary>
/// <param name="calls">Asks the guest.</param>
/// <param name="sendStatistics">Puts statistics that are kept here before the next call.</param>
internal sealed class VllmEngineControl(GuestCalls calls, Action sendStatistics) : IEngineControl
{
    public Task CheckHealthAsync(CancellationToken cancellationToken) => CallAsync("check_health", null, cancellationToken);

    public Task RoundTripAsync(CancellationToken cancellationToken) => CallAsync("round_trip", null, cancellationToken);

    public async Task<string> ReadMetricsAsync(CancellationToken cancellationToken)
    {
        sendStatistics();
        return (await CallAsync("metrics", null, cancellationToken).ConfigureAwait(false)).GetString() ?? "";
    }

    public Task LogStatisticsAsync(CancellationToken cancellationToken)
    {
        sendStatistics();
        return CallAsync("log_stats", null, cancellationToken);
    }

    public async Task<JsonObject> ReadInstalledPackagesAsync(CancellationToken cancellationToken)
    {
        var answer = await CallAsync("installed_packages", null, cancellationToken).ConfigureAwait(false);
        return JsonObject.Create(answer.GetProperty("packages")) ?? [];
    }

    public async Task<bool> ResetPrefixCacheAsync(bool resetConnector, bool resetRunningRequests, CancellationToken cancellationToken)
    {
        var arguments = new JsonObject { ["reset_connector"] = resetConnector, ["reset_running_requests"] = resetRunningRequests };
        var answer = await CallAsync("reset_prefix_cache", arguments, cancellationToken).ConfigureAwait(false);
        return answer.ValueKind == JsonValueKind.True;
    }

    public Task PauseAsync(PauseMode mode, bool clearCache, CancellationToken cancellationToken)
    {
        var word = mode switch
        {
            PauseMode.Keep => "keep",
            PauseMode.Wait => "wait",
            _ => "abort",
        };
        return CallAsync("pause", new JsonObject { ["mode"] = word, ["clear_cache"] = clearCache }, cancellationToken);
    }

    public Task ResumeAsync(CancellationToken cancellationToken) => CallAsync("resume", null, cancellationToken);

    public Task SleepAsync(JsonNode? level, CancellationToken cancellationToken) =>
        CallAsync("sleep", Given("level", level), cancellationToken);

    public Task WakeUpAsync(JsonNode? tags, CancellationToken cancellationToken) =>
        CallAsync("wake_up", Given("tags", tags), cancellationToken);

    public Task StartProfileAsync(JsonNode? prefix, CancellationToken cancellationToken) =>
        CallAsync("start_profile", Given("profile_prefix", prefix), cancellationToken);

    public Task StopProfileAsync(CancellationToken cancellationToken) => CallAsync("stop_profile", null, cancellationToken);

    public Task AddLoraAsync(string name, int id, string path, CancellationToken cancellationToken)
    {
        var arguments = new JsonObject
        {
            ["name"] = name,
            ["lora_id"] = id,
            ["path"] = path,
        };
        return CallAsync("add_lora", arguments, cancellationToken);
    }

    public Task RemoveLoraAsync(int id, CancellationToken cancellationToken) =>
        CallAsync("remove_lora", new JsonObject { ["lora_id"] = id }, cancellationToken);

    public Task CallWorkersAsync(JsonNode? method, JsonObject arguments, CancellationToken cancellationToken) =>
        CallAsync(
            "collective_rpc",
            new JsonObject { ["name"] = method?.DeepClone(), ["kwargs"] = arguments.DeepClone() },
            cancellationToken
        );

    public Task<JsonObject> ReadParallelismAsync(CancellationToken cancellationToken) => ReadAsync("parallelism", cancellationToken);

    public Task<JsonObject> ReadGpuCapacityAsync(CancellationToken cancellationToken) => ReadAsync("gpu_capacity", cancellationToken);

    public Task ScaleAsync(long dataParallelSize, CancellationToken cancellationToken) =>
        CallAsync("scale", new JsonObject { ["size"] = dataParallelSize }, cancellationToken);

    private async Task<JsonObject> ReadAsync(string method, CancellationToken cancellationToken) =>
        JsonObject.Create(await CallAsync(method, null, cancellationToken).ConfigureAwait(false)) ?? [];

    private Task<JsonElement> CallAsync(string method, JsonObject? arguments, CancellationToken cancellationToken) =>
        calls.AskAsync(GuestOperation.Call, new JsonObject { ["method"] = method, ["arguments"] = arguments }, cancellationToken);

    private static JsonObject? Given(string name, JsonNode? value) => value is null ? null : new JsonObject { [name] = value.DeepClone() };
}
