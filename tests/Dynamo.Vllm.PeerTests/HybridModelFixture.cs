using System.Diagnostics;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PeerTests;

/// <summary>Workers with cache events, on a model whose layers see differently far, so that the cache has groups.</summary>
public sealed class HybridModelFixture : NamedPairFixture
{
    public HybridModelFixture()
        : base("/v1/completions", new JsonObject { ["prompt"] = "hello", ["max_tokens"] = 1 }, []) { }

    protected override async Task<IReadOnlyList<string>> ModelAsync(string folder)
    {
        var target = Path.Combine(folder, "hybrid");
        var script = Path.Combine(SimulatedPaths.Root, "tests", "peers", "make_tiny_hybrid.py");
        using var python = Process.Start(new ProcessStartInfo(Peers.Python, [script, Peers.TinyModel, target]))!;
        await python.WaitForExitAsync();
        return python.ExitCode == 0 ? ["--model", target] : throw new InvalidOperationException("the model cannot be made");
    }

    protected override IEnumerable<string> FlagsOf(string name) => KvEventFlags.OnFreePort();
}
