using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PeerTests;

/// <summary>All drives give the same answers and the same metrics on real vLLM.</summary>
[Trait("Category", "Peers")]
public sealed class DriveTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(5);

    [PeerFact]
    public async Task Drives_answer_as_the_stock_one()
    {
        var expected = await AnswersAsync("stock");
        foreach (var drive in new[] { "raw", "collector" })
        {
            var actual = await AnswersAsync(drive);
            Assert.Equal(expected.Count, actual.Count);
            Assert.All(expected.Zip(actual), pair => Assert.Equal(pair.First, pair.Second));
        }
    }

    private static async Task<IReadOnlyList<string>> AnswersAsync(string drive)
    {
        using var store = new TemporaryFolder();
        await using var worker = WorkerProcess.Start(store.Path, ["--python", Peers.Python, .. Peers.EngineArguments, "--engine-drive", drive], Peers.Variables(store.Path));
        await worker.ReadyAsync(Limit);
        Assert.DoesNotContain(worker.Process.Lines, line => line.Contains("drive is used instead", StringComparison.Ordinal));
        return await DriveAnswers.CollectAsync(store.Path, worker);
    }
}
