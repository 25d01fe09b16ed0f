using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PythonTests;

/// <summary>All drives give the same answers and the same metrics, on the simulated engine. On real vLLM: PeerTests.</summary>
public sealed class DriveTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    [Theory]
    [InlineData("raw")]
    [InlineData("collector")]
    public async Task A_drive_answers_as_the_stock_one(string drive)
    {
        var (expected, actual) = (await AnswersAsync("stock"), await AnswersAsync(drive));
        Assert.Equal(expected.Count, actual.Count);
        Assert.All(expected.Zip(actual), pair => Assert.Equal(pair.First, pair.Second));
    }

    private static async Task<IReadOnlyList<string>> AnswersAsync(string drive)
    {
        using var store = new TemporaryFolder();
        await using var worker = WorkerProcess.StartSimulated(store.Path, ["--engine-drive", drive, "--simulated-step-time-ms", "2", "--max-num-seqs", "16"]);
        await worker.ReadyAsync(Limit);
        Assert.DoesNotContain(worker.Process.Lines, line => line.Contains("drive is used instead", StringComparison.Ordinal));
        return await DriveAnswers.CollectAsync(store.Path, worker);
    }
}
