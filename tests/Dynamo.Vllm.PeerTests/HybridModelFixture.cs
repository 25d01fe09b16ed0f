using System.Diagnostics;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PeerTests;

/// <summary>
/// Workers with cache events, on a model whose layers see differently far, so that the cache has groups. They speculate, say where they
/// stand, and tell the frontend how to route to them.
/// </summary>
public sealed class HybridModelFixture : NamedPairFixture
{
    private static readonly string[] Flags =
    [
        "--router-mode",
        "kv",
        "--router-temperature",
        "0.3",
        "--router-ttl-secs",
        "77",
        "--no-router-track-active-blocks",
        "--active-decode-blocks-threshold",
        "0.7",
        "--router-session-affinity-ttl-secs",
        "30",
        "--router-queue-threshold",
        "4",
        "--router-queue-policy",
        "wspt",
        "--speculative-config",
        """{"method":"ngram","num_speculative_tokens":3,"prompt_lookup_max":4,"prompt_lookup_min":2}""",
    ];

    public HybridModelFixture()
        : base("/v1/completions", new JsonObject { ["prompt"] = "hello", ["max_tokens"] = 1 }, Flags) { }

    /// <remarks>vLLM's n-gram proposer needs numba, which the peers lack: what it takes from there stands in <c>uncompiled</c>.</remarks>
    protected override IReadOnlyDictionary<string, string> Environment =>
        new Dictionary<string, string>
        {
            ["PYTHONPATH"] = Path.Combine(SimulatedPaths.Root, "tests", "peers", "uncompiled"),
            ["DYN_TOPOLOGY_ENABLED"] = "1",
            ["DYN_TOPOLOGY_MOUNT_PATH"] = TopologyFolder,
            ["DYN_KV_TRANSFER_DOMAIN"] = "zone",
            ["DYN_KV_TRANSFER_ENFORCEMENT"] = "preferred",
            ["DYN_KV_TRANSFER_PREFERRED_WEIGHT"] = "0.4",
        };

    private string TopologyFolder => Path.Combine(Store, "topology");

    protected override async Task<IReadOnlyList<string>> ModelAsync(string folder)
    {
        Directory.CreateDirectory(TopologyFolder);
        await File.WriteAllTextAsync(Path.Combine(TopologyFolder, "zone"), "zone-a\n");
        await File.WriteAllTextAsync(Path.Combine(TopologyFolder, "rack"), "rack-7");
        await File.WriteAllTextAsync(Path.Combine(TopologyFolder, ".hidden"), "no domain");
        var target = Path.Combine(folder, "hybrid");
        var script = Path.Combine(SimulatedPaths.Root, "tests", "peers", "make_tiny_hybrid.py");
        using var python = Process.Start(new ProcessStartInfo(Peers.Python, [script, Peers.TinyModel, target]))!;
        await python.WaitForExitAsync();
        return python.ExitCode == 0 ? ["--model", target] : throw new InvalidOperationException("the model cannot be made");
    }

    protected override IEnumerable<string> FlagsOf(string name) => KvEventFlags.OnFreePort();
}
