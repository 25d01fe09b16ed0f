using System.Globalization;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Adapters;

namespace Dynamo.Vllm.PeerTests;

/// <summary>One of our workers and one official worker on real vLLM with LoRA and hot swap, behind one official frontend.</summary>
public sealed class AdapterPairFixture : IAsyncLifetime
{
    private static readonly TimeSpan StartLimit = TimeSpan.FromMinutes(5);

    private TemporaryFolder? _store;
    private ChildProcess? _official;

    public static string[] Flags { get; } = ["--enable-lora", "--max-loras", "2", "--max-lora-rank", "16"];

    public Frontend Frontend { get; private set; } = null!;

    public WorkerProcess Ours { get; private set; } = null!;

    public HttpClient OfficialHttp { get; private set; } = null!;

    public ulong OurInstance => ulong.Parse(Ours.Instance, NumberStyles.HexNumber, CultureInfo.InvariantCulture);

    public ulong OfficialInstance { get; private set; }

    /// <summary>Adapters of the tiny model: <c>a1</c>, <c>a2</c>, <c>a3</c>, and broken ones named for what is wrong with them.</summary>
    public TemporaryFolder Adapters { get; } = new();

    /// <summary>Where our worker and its engine put temporary files.</summary>
    public TemporaryFolder Temporary { get; } = new();

    public string Store => _store!.Path;

    /// <summary>Where our worker serves vLLM's own contract, too.</summary>
    public string GrpcPort { get; } = FreePorts.Next().ToString(CultureInfo.InvariantCulture);

    public static Dictionary<string, string> Variables(string store) =>
        new(Peers.Variables(store)) { ["DYN_LORA_ENABLED"] = "true", ["DYN_LORA_HOTSWAP_ENABLED"] = "true" };

    public async Task InitializeAsync()
    {
        if (PeerFactAttribute.SkipReason is not null)
        {
            return; // every test of the class is skipped
        }

        _store = new TemporaryFolder();
        await MakeAdaptersAsync();
        var variables = Variables(_store.Path);
        Frontend = Frontend.Start(Peers.Variables(_store.Path), "--router-mode", "round-robin");
        var temporary = new Dictionary<string, string>(variables) { ["TMPDIR"] = Temporary.Path };
        // One after the other: each start imports torch three times, and this machine has two cores.
        Ours = WorkerProcess.Start(
            _store.Path,
            [
                "--python",
                Peers.Python,
                .. Peers.EngineArguments,
                .. Flags,
                .. KvEventFlags.OnFreePort(),
                "--drain-timeout",
                "120",
                "--grpc-requests",
                "--grpc-port",
                GrpcPort,
            ],
            temporary
        );
        await Ours.ReadyAsync(StartLimit);
        var port = FreePorts.Next();
        _official = new ChildProcess(
            "official",
            Peers.Python,
            ["-m", "dynamo.vllm", .. Peers.EngineArguments, .. Flags, .. KvEventFlags.OnFreePort()],
            new Dictionary<string, string>(variables) { ["DYN_SYSTEM_PORT"] = port.ToString(CultureInfo.InvariantCulture) }
        );
        OfficialHttp = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{port}") };
        await Polling.UntilAsync(
            "the official worker has not registered",
            StartLimit,
            () => Task.FromResult(Generates().Count == 2),
            () => _official.Tail
        );
        OfficialInstance = Generates().Single(instance => instance != OurInstance);
        await Frontend.ServesAsync("tiny", StartLimit);
    }

    public async Task DisposeAsync()
    {
        if (_store is not null)
        {
            OfficialHttp.Dispose();
            await _official!.DisposeAsync();
            await Ours.DisposeAsync();
            await Frontend.DisposeAsync();
            _store.Dispose();
        }

        Adapters.Dispose();
        Temporary.Dispose();
    }

    /// <summary>The adapter's card of that instance, or null.</summary>
    public JsonObject? Card(ulong instance, string slug)
    {
        var hex = instance.ToString("x", CultureInfo.InvariantCulture);
        return Directory
            .GetFiles(Path.Combine(Store, "v1", "mdc"))
            .Where(path => Uri.UnescapeDataString(Path.GetFileName(path)).EndsWith($"/{hex}/{slug}", StringComparison.Ordinal))
            .Select(path => JsonNode.Parse(File.ReadAllText(path))!.AsObject())
            .SingleOrDefault();
    }

    private async Task MakeAdaptersAsync()
    {
        foreach (var seed in (int[])[1, 2, 3])
        {
            await TestAdapter.MakeAsync(Peers.TinyModel, Path.Combine(Adapters.Path, $"a{seed}"), seed);
        }

        await TestAdapter.MakeAsync(Peers.TinyModel, Path.Combine(Adapters.Path, "rank64"), 1, rank: 64);
        foreach (var broken in (string[])["noconfig", "noweights", "badjson"])
        {
            await TestAdapter.MakeAsync(Peers.TinyModel, Path.Combine(Adapters.Path, broken), 1);
        }

        File.Delete(Path.Combine(Adapters.Path, "noconfig", "adapter_config.json"));
        File.Delete(Path.Combine(Adapters.Path, "noweights", "adapter_model.safetensors"));
        await File.WriteAllTextAsync(Path.Combine(Adapters.Path, "badjson", "adapter_config.json"), "{");
    }

    private List<ulong> Generates()
    {
        var folder = Path.Combine(Store, "v1", "instances");
        return !Directory.Exists(folder)
            ? []
            :
            [
                .. Directory
                    .GetFiles(folder)
                    .Where(path => !Path.GetFileName(path).StartsWith('.'))
                    .Select(path => JsonNode.Parse(File.ReadAllText(path))!)
                    .Where(record => (string?)record["endpoint"] == "generate")
                    .Select(record => record["instance_id"]!.GetValue<ulong>()),
            ];
    }
}
