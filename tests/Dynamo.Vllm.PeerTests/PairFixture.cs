using System.Globalization;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PeerTests;

/// <summary>One of our workers and one official worker on real vLLM behind one
/// official frontend, with flags that the mixed fleet does without.</summary>
public sealed class PairFixture : IAsyncLifetime
{
    private static readonly TimeSpan StartLimit = TimeSpan.FromMinutes(5);

    private static readonly string[] Flags =
    [
        "--enable-prompt-embeds",
        "--disable-log-stats",
        "--dyn-tool-call-parser",
        "hermes",
        "--dyn-reasoning-parser",
        "basic",
        "--dyn-default-thinking-mode",
        "enabled",
        "--no-exclude-tools-when-tool-choice-none",
        "--dyn-structural-tag",
        """{"scope":"auto","schema":"strict"}""", // its other members need another generation of parsers in the frontend
        "--stream-interval",
        "4",
        "--reasoning-parser",
        "qwen3",
        "--reasoning-config",
        // Words that the tiny model's tokenizer has few tokens for.
        """{"reasoning_start_str":"hello","reasoning_end_str":" world"}""",
        "--scheduling-policy",
        "priority",
        "--max-num-seqs",
        "2",
    ];

    private TemporaryFolder? _store;

    public Frontend Frontend { get; private set; } = null!;

    public WorkerProcess Ours { get; private set; } = null!;

    public HttpClient OfficialHttp { get; private set; } = null!;

    public ulong OurInstance { get; private set; }

    public ulong OfficialInstance { get; private set; }

    /// <summary>Prompts by name, made with torch: base64 of what <c>torch.save</c> writes.</summary>
    public JsonObject Embeddings { get; private set; } = [];

    public ChildProcess Official { get; private set; } = null!;

    /// <summary>What vLLM's profiler writes.</summary>
    public string Traces => Path.Combine(_store!.Path, "traces");

    public async Task InitializeAsync()
    {
        if (Peers.Folder is null && Environment.GetEnvironmentVariable("CI") != "true")
        {
            return; // every test of the class is skipped
        }

        _store = new TemporaryFolder();
        Embeddings = await PromptTensors.MakeAsync();
        var variables = Peers.Variables(_store.Path);
        variables["DYN_HEALTH_CHECK_ENABLED"] = "true";
        variables["DYN_CANARY_WAIT_TIME"] = "2";
        variables["DYN_HEALTH_CHECK_REQUEST_TIMEOUT"] = "2";
        variables["DYN_HEALTH_CHECK_PAYLOAD"] = $"@{await WritePayloadAsync()}";
        string[] flags = [.. Flags, "--profiler-config", ProfilerConfig()];
        // The variable switches vLLM's own Generate API on.
        Frontend = Frontend.Start(
            new Dictionary<string, string>(variables) { ["DYN_VLLM_ENABLE_INFERENCE_V1_GENERATE"] = "1" },
            "--router-mode",
            "round-robin"
        );
        // One after the other: each start imports torch three times, and this machine has two cores.
        Ours = WorkerProcess.Start(_store.Path, ["--python", Peers.Python, .. Peers.EngineArguments, .. flags], variables);
        await Ours.ReadyAsync(StartLimit);
        OurInstance = ulong.Parse(Ours.Instance, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
        var port = FreePorts.Next();
        Official = new ChildProcess(
            "official",
            Peers.Python,
            ["-m", "dynamo.vllm", .. Peers.EngineArguments, .. flags],
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

    /// <summary>The model card of this instance.</summary>
    public JsonObject CardOf(ulong instance) => Instances("v1/mdc")[instance]["card_json"]!.AsObject();

    /// <summary>Stacks would make the traces a hundred times larger.</summary>
    private string ProfilerConfig() =>
        new JsonObject
        {
            ["profiler"] = "torch",
            ["torch_profiler_dir"] = Traces,
            ["torch_profiler_with_stack"] = false,
            ["torch_profiler_use_gzip"] = false,
        }.ToJsonString();

    /// <summary>A probe of five tokens that asks for two.</summary>
    private async Task<string> WritePayloadAsync()
    {
        var path = Path.Combine(_store!.Path, "payload.json");
        await File.WriteAllTextAsync(
            path,
            """{"token_ids":[1,45,375,319,7],"stop_conditions":{"max_tokens":2,"ignore_eos":true},"sampling_options":{"temperature":0.0}}"""
        );
        return path;
    }

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
