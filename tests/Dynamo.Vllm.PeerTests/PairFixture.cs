using System.Globalization;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PeerTests;

/// <summary>One of our workers and one official worker on real vLLM behind one
/// official frontend, with flags that the mixed fleet does without.</summary>
public sealed class PairFixture : IAsyncLifetime
{
    private static readonly TimeSpan StartLimit = TimeSpan.FromMinutes(5);

    private static readonly string[] Flags = ["--enable-prompt-embeds", "--disable-log-stats"];

    private TemporaryFolder? _store;

    public Frontend Frontend { get; private set; } = null!;

    public WorkerProcess Ours { get; private set; } = null!;

    public HttpClient OfficialHttp { get; private set; } = null!;

    public ulong OurInstance { get; private set; }

    public ulong OfficialInstance { get; private set; }

    /// <summary>Prompts by name, made with torch: base64 of what <c>torch.save</c> writes.</summary>
    public JsonObject Embeddings { get; private set; } = [];

    private ChildProcess Official { get; set; } = null!;

    public async Task InitializeAsync()
    {
        if (Peers.Folder is null && Environment.GetEnvironmentVariable("CI") != "true")
        {
            return; // every test of the class is skipped
        }

        _store = new TemporaryFolder();
        Embeddings = await PromptTensors.MakeAsync();
        var variables = Peers.Variables(_store.Path);
        // The variable switches vLLM's own Generate API on.
        Frontend = Frontend.Start(
            new Dictionary<string, string>(variables) { ["DYN_VLLM_ENABLE_INFERENCE_V1_GENERATE"] = "1" },
            "--router-mode",
            "round-robin"
        );
        // One after the other: each start imports torch three times, and this machine has two cores.
        Ours = WorkerProcess.Start(_store.Path, ["--python", Peers.Python, .. Peers.EngineArguments, .. Flags], variables);
        await Ours.ReadyAsync(StartLimit);
        OurInstance = ulong.Parse(Ours.Instance, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
        var port = FreePorts.Next();
        Official = new ChildProcess(
            "official",
            Peers.Python,
            ["-m", "dynamo.vllm", .. Peers.EngineArguments, .. Flags],
            new Dictionary<string, string>(variables) { ["DYN_SYSTEM_PORT"] = port.ToString(CultureInfo.InvariantCulture) }
        );
        OfficialHttp = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{port}") };
        await Polling.UntilAsync(
            "the official worker has not registered",
            StartLimit,
            () => Task.FromResult(Instances("v1/mdc").Count == 2),
            () => Official.Tail
        );
        OfficialInstance = Instances("v1/mdc").Keys.Single(instance => instance != OurInstance);
        await Frontend.ServesAsync("tiny", StartLimit);
    }

    public async Task DisposeAsync()
    {
        if (_store is null)
        {
            return;
        }

        OfficialHttp.Dispose();
        await Official.DisposeAsync();
        await Ours.DisposeAsync();
        await Frontend.DisposeAsync();
        _store.Dispose();
    }

    /// <summary>Where a caller without a frontend finds the generate endpoint of this instance.</summary>
    public string AddressOf(ulong instance) => Instances("v1/instances", "generate")[instance]["transport"]!["tcp"]!.GetValue<string>();

    public Task OfficialLineAsync(string text, TimeSpan limit) => Official.LineAsync(text, limit);

    private Dictionary<ulong, JsonObject> Instances(string bucket, string? endpoint = null)
    {
        var folder = Path.Combine(_store!.Path, bucket);
        return !Directory.Exists(folder)
            ? []
            : Directory
                .GetFiles(folder)
                .Where(path => !Path.GetFileName(path).StartsWith('.'))
                .Select(path => JsonNode.Parse(File.ReadAllText(path))!.AsObject())
                .Where(record => endpoint is null || record["endpoint"]!.GetValue<string>() == endpoint)
                .ToDictionary(record => record["instance_id"]!.GetValue<ulong>());
    }
}
