using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PeerTests;

/// <summary>One worker with two data-parallel ranks on real vLLM, behind the official router.</summary>
[Trait("Category", "Peers")]
public sealed class DataParallelTests
{
    private static readonly TimeSpan StartLimit = TimeSpan.FromMinutes(5);

    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    [PeerFact]
    public async Task A_prompt_sent_again_goes_to_the_rank_that_has_it()
    {
        using var store = new TemporaryFolder();
        var variables = Peers.Variables(store.Path);
        await using var frontend = Frontend.Start(variables, "--router-mode", "kv");
        await using var worker = WorkerProcess.Start(
            store.Path,
            ["--python", Peers.Python, .. Peers.EngineArguments, "--data-parallel-size", "2", .. KvEventFlags.OnFreePort()],
            variables
        );
        await worker.ReadyAsync(StartLimit);
        await frontend.ServesAsync("tiny", StartLimit);

        var ranks = new Dictionary<int, int>();
        for (var i = 0; i < 10; i++)
        {
            ranks[i] = (await AskAsync(frontend, i)).Rank;
        }

        Assert.Equal([0, 1], ranks.Values.Distinct().Order());
        for (var i = 0; i < 10; i++)
        {
            await frontend.WaitAsync(
                "the prompt is not known to be cached",
                Limit,
                async () => (await AskAsync(frontend, i)).HitRate > 0.5
            );
            Assert.Equal(ranks[i], (await AskAsync(frontend, i)).Rank);
        }

        foreach (var rank in (string[])["0", "1"])
        {
            Assert.True(await worker.MetricAsync("vllm:prefix_cache_hits_total", $"engine=\"{rank}\"") > 0);
            Assert.True(await worker.MetricAsync("dynamo_vllm_kv_relay_blocks_total", $"dp_rank=\"{rank}\"") > 0);
            Assert.True(await worker.MetricAsync("dynamo_component_total_blocks", $"dp_rank=\"{rank}\"") > 0);
        }
    }

    private static Task<RoutedAnswer> AskAsync(Frontend frontend, int number) =>
        RoutedAnswer.AskAsync(frontend, string.Join(' ', Enumerable.Range(0, 60).Select(i => $"rank{number} {i}")));
}
