using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PythonTests;

/// <summary>All drives give the same answers and the same metrics, on the simulated engine. On real vLLM: PeerTests.</summary>
public sealed class EngineConformanceTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    [Theory]
    [InlineData("direct")]
    [InlineData("raw")]
    [InlineData("collector")]
    public async Task A_drive_answers_as_the_stock_one(string drive) =>
        EngineConformance.AssertSame(
            await EngineConformance.OfAsync("stock", Start, Limit),
            await EngineConformance.OfAsync(drive, Start, Limit)
        );

    private static WorkerProcess Start(string store, string[] flags) =>
        WorkerProcess.StartSimulated(store, ["--simulated-step-time-ms", "2", "--max-num-seqs", "16", .. flags]);
}
