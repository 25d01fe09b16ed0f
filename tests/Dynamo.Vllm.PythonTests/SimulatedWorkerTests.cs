using System.Text.Json.Nodes;
using Dynamo.Vllm.Engine.Processes;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Transports.Client;

namespace Dynamo.Vllm.PythonTests;

/// <summary>What tests share that run the whole worker as a process on the
/// simulated engine: one file store, its workers, its callers.</summary>
public abstract class SimulatedWorkerTests : IDisposable
{
    protected static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    private readonly TemporaryFolder _store = new();

    /// <summary>Folder of the file discovery store.</summary>
    protected string Store => _store.Path;

    public void Dispose()
    {
        Dispose(disposing: true);
        GC.SuppressFinalize(this);
    }

    protected virtual void Dispose(bool disposing) => _store.Dispose();

    /// <param name="arguments">Beside those that every worker here gets.</param>
    /// <param name="launcher">See <see cref="WorkerProcess.Start"/>.</param>
    /// <param name="grace">Grace period of the stop, in seconds.</param>
    /// <param name="environment">Beside that.</param>
    protected async Task<WorkerProcess> StartAsync(
        string[]? arguments = null,
        IEnumerable<string>? launcher = null,
        double grace = 0.2,
        IReadOnlyDictionary<string, string>? environment = null
    )
    {
        var variables = new Dictionary<string, string>(environment ?? new Dictionary<string, string>())
        {
            ["DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS"] = grace.ToString(System.Globalization.CultureInfo.InvariantCulture),
        };
        var worker = WorkerProcess.StartSimulated(Store, ["--simulated-step-time-ms", "5", .. arguments ?? []], variables, launcher);
        await worker.ReadyAsync(Limit);
        return worker;
    }

    protected static Task UsageAsync(WorkerProcess worker, Predicate<double> condition) =>
        Polling.UntilAsync(
            "the cache is not used as expected",
            Limit,
            async () => condition(await worker.MetricAsync("vllm:kv_cache_usage_perc"))
        );

    protected static async Task<JsonObject> SingleAsync(WorkerCall call)
    {
        var items = new List<JsonObject>();
        await foreach (var item in call.ReadAsync(default))
        {
            items.Add(item);
        }

        return Assert.Single(items);
    }

    protected Task<WorkerClient> ConnectAsync() =>
        WorkerClient.ConnectAsync(FileDirectoryReader.FindTcp(Store, "generate")[0], PayloadCodec.MessagePack, default);

    protected string[] Records()
    {
        var root = Path.Combine(Store, "v1");
        return Directory.Exists(root) ? Directory.GetFiles(root, "*", SearchOption.AllDirectories) : [];
    }

    protected static byte[] Body(int seed, int maxTokens) =>
        System.Text.Encoding.UTF8.GetBytes(
            $$$"""{"token_ids":[{{{seed}}},2,3],"stop_conditions":{"max_tokens":{{{maxTokens}}},"ignore_eos":true},"sampling_options":{"temperature":0}}"""
        );

    protected static async Task<int> CountAsync(WorkerCall call)
    {
        var tokens = 0;
        await foreach (var item in call.ReadAsync(default))
        {
            tokens += item["data"]?["token_ids"]?.AsArray().Count ?? throw new InvalidOperationException(item.ToJsonString());
        }

        return tokens;
    }

    protected static async Task FirstAsync(WorkerCall call)
    {
        await using var items = call.ReadAsync(default).GetAsyncEnumerator();
        Assert.True(await items.MoveNextAsync());
    }

    protected static async Task<string> ControlAsync(WorkerProcess worker, string path)
    {
        using var response = await worker.Http.PostAsync($"/engine/{path}", null);
        return JsonNode.Parse(await response.Content.ReadAsStringAsync())!["message"]!.GetValue<string>();
    }

    protected static bool IsAlive(int id)
    {
        try
        {
            var stat = File.ReadAllText($"/proc/{id}/stat");
            return stat[stat.LastIndexOf(')') + 2] != 'Z';
        }
        catch (IOException)
        {
            return false;
        }
    }

    protected static void AssertGone(int id) => Assert.False(IsAlive(id), $"process {id} is still there");
}
