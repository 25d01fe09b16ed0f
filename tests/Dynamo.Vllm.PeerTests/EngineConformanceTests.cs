using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PeerTests;

/// <summary>All drives give the same answers and the same metrics on real vLLM.</summary>
[Trait("Category", "Peers")]
public sealed class EngineConformanceTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(5);

    [PeerFact]
    public async Task Drives_answer_as_the_stock_one()
    {
        var expected = await EngineConformance.OfAsync("stock", Start, Limit);
        foreach (var drive in new[] { "direct", "raw" }) // the collector's is the way of every unusual request on both, and runs simulated
        {
            EngineConformance.AssertSame(expected, await EngineConformance.OfAsync(drive, Start, Limit));
        }
    }

    private static WorkerProcess Start(string store, string[] flags) =>
        WorkerProcess.Start(store, ["--python", Peers.Python, .. Peers.EngineArguments, .. flags], Peers.Variables(store));
}
