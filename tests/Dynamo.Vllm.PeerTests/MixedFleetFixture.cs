using System.Globalization;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Telemetry;

namespace Dynamo.Vllm.PeerTests;

/// <summary>
/// Two of our workers and one official worker on real vLLM, all publishing KV events, behind two official frontends (round robin and
/// KV-aware), in one store. The second of ours runs the instrumented scheduler and relays forward-pass metrics.
/// </summary>
public sealed class MixedFleetFixture : IAsyncLifetime
{
    private static readonly TimeSpan StartLimit = TimeSpan.FromMinutes(5);

    private TemporaryFolder? _store;

    public Frontend RoundRobin { get; private set; } = null!;

    public Frontend KvRouted { get; private set; } = null!;

    public WorkerProcess First { get; private set; } = null!;

    public WorkerProcess Second { get; private set; } = null!;

    public ChildProcess Official { get; private set; } = null!;

    public HttpClient OfficialHttp { get; private set; } = null!;

    /// <summary>Where the first of ours sends its metrics.</summary>
    public OtlpReceiver OurMetrics { get; private set; } = null!;

    /// <summary>Where the official worker sends its.</summary>
    public OtlpReceiver OfficialMetrics { get; private set; } = null!;

    public string Store => _store!.Path;

    /// <summary>Where the engine of the second of ours tells of its forward passes.</summary>
    public int PassPort { get; } = FreePorts.Next();

    /// <summary>Where the second of ours traces them.</summary>
    public string Traces => Path.Combine(Store, "traces");

    public async Task InitializeAsync()
    {
        if (Peers.Folder is null && Environment.GetEnvironmentVariable("CI") != "true")
        {
            return; // every test of the class is skipped
        }

        _store = new TemporaryFolder();
        var variables = Peers.Variables(Store);
        RoundRobin = Frontend.Start(variables, "--router-mode", "round-robin");
        KvRouted = Frontend.Start(variables, "--router-mode", "kv");
        // One after the other: each start imports torch three times, and this machine has two cores.
        OurMetrics = await OtlpReceiver.StartAsync();
        OfficialMetrics = await OtlpReceiver.StartAsync();
        First = StartOurs(Exporting(variables, OurMetrics), "--dump-config-to", DumpPath("ours"));
        await First.ReadyAsync(StartLimit);
        var port = FreePorts.Next();
        Official = new ChildProcess(
            "official",
            Peers.Python,
            ["-m", "dynamo.vllm", .. Peers.EngineArguments, .. KvEventFlags.OnFreePort(), "--dump-config-to", DumpPath("official")],
            new Dictionary<string, string>(Exporting(variables, OfficialMetrics))
            {
                ["DYN_SYSTEM_PORT"] = port.ToString(CultureInfo.InvariantCulture),
            }
        );
        OfficialHttp = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{port}") };
        await WaitForRecordsAsync("v1/mdc", 2);
        variables["DYN_FORWARDPASS_METRIC_PORT"] = PassPort.ToString(CultureInfo.InvariantCulture);
        variables["DYN_FPM_MODE"] = "full";
        variables["DYN_FPM_OUTPUT_PATH"] = Path.Combine(Traces, "ours");
        Second = StartOurs(variables, "--fpm-trace");
        await Second.ReadyAsync(StartLimit);
        await RoundRobin.ServesAsync("tiny", StartLimit);
        await KvRouted.ServesAsync("tiny", StartLimit);
    }

    public async Task DisposeAsync()
    {
        if (_store is null)
        {
            return;
        }

        OfficialHttp.Dispose();
        await Official.DisposeAsync();
        await First.DisposeAsync();
        await Second.DisposeAsync();
        await RoundRobin.DisposeAsync();
        await KvRouted.DisposeAsync();
        await OurMetrics.DisposeAsync();
        await OfficialMetrics.DisposeAsync();
        _store.Dispose();
    }

    private static Dictionary<string, string> Exporting(Dictionary<string, string> variables, OtlpReceiver collector) =>
        new(variables)
        {
            ["OTEL_METRICS_EXPORTER"] = "otlp",
            ["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.Grpc,
            ["OTEL_METRIC_EXPORT_INTERVAL"] = "2000",
            ["OTEL_RESOURCE_ATTRIBUTES"] = "fleet=mixed",
        };

    private WorkerProcess StartOurs(Dictionary<string, string> variables, params string[] more) =>
        WorkerProcess.Start(Store, ["--python", Peers.Python, .. Peers.EngineArguments, .. KvEventFlags.OnFreePort(), .. more], variables);

    private string DumpPath(string worker) => Path.Combine(Store, "dumps", worker + ".json");

    /// <summary>Where a caller without a frontend finds this endpoint of this instance.</summary>
    public string AddressOf(ulong instance, string endpoint = "generate") =>
        Records("v1/instances")
            .Single(record => record["endpoint"]!.GetValue<string>() == endpoint && record["instance_id"]!.GetValue<ulong>() == instance)[
            "transport"
        ]!["tcp"]!.GetValue<string>();

    /// <summary>What <c>--dump-config-to</c> made: path of each value that is no object, and its text.</summary>
    public IReadOnlyDictionary<string, string> DumpOf(string worker)
    {
        var values = new Dictionary<string, string>();
        Collect(JsonNode.Parse(File.ReadAllText(DumpPath(worker))), "", values);
        return values;
    }

    private static void Collect(JsonNode? node, string path, Dictionary<string, string> values)
    {
        if (node is not JsonObject map || map.Count == 0)
        {
            values[path] = node?.ToJsonString() ?? "null";
            return;
        }

        foreach (var (key, value) in map)
        {
            Collect(value, path.Length == 0 ? key : $"{path}.{key}", values);
        }
    }

    public IReadOnlyList<JsonObject> Records(string bucket)
    {
        var folder = Path.Combine(Store, bucket);
        return Directory.Exists(folder)
            ?
            [
                .. Directory
                    .GetFiles(folder)
                    .Where(path => !Path.GetFileName(path).StartsWith('.'))
                    .Select(path => JsonNode.Parse(File.ReadAllText(path))!.AsObject()),
            ]
            : [];
    }

    public ulong InstanceOf(WorkerProcess worker) => ulong.Parse(worker.Instance, NumberStyles.HexNumber, CultureInfo.InvariantCulture);

    public ulong OfficialInstance =>
        Records("v1/mdc")
            .Select(record => record["instance_id"]!.GetValue<ulong>())
            .First(id => id != InstanceOf(First) && id != InstanceOf(Second));

    private async Task WaitForRecordsAsync(string bucket, int count)
    {
        using var limit = new CancellationTokenSource(StartLimit);
        while (Records(bucket).Count < count)
        {
            if (Official.HasExited || limit.IsCancellationRequested)
            {
                throw new InvalidOperationException($"the official worker did not register\n{Official.Tail}");
            }

            await Task.Delay(200); // the store has no event to wait for
        }
    }
}
