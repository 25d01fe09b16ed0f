using System.Globalization;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PeerTests;

/// <summary>The official frontend in kv mode, fed by our relay.</summary>
[Trait("Category", "Peers")]
public sealed class KvRoutingTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(2);

    [PeerFact]
    public async Task A_prompt_sent_again_goes_to_the_worker_that_has_it()
    {
        using var store = new TemporaryFolder();
        var variables = Peers.Variables(store.Path);
        await using var frontend = Frontend.Start(variables, "--router-mode", "kv");
        await using var first = StartWorker(store.Path, variables);
        await using var second = StartWorker(store.Path, variables);
        await first.ReadyAsync(Limit);
        await second.ReadyAsync(Limit);
        await frontend.ServesAsync("tiny", Limit);
        await BothServeAsync(frontend);

        var homes = new Dictionary<int, ulong>();
        for (var i = 0; i < 20; i++)
        {
            homes[i] = await WorkerOfAsync(frontend, i);
        }

        await StoredAsync(first, second, 20);
        Assert.Equal(2, homes.Values.Distinct().Count());
        for (var i = 0; i < 20; i++)
        {
            Assert.Equal(homes[i], await WorkerOfAsync(frontend, i));
        }

        // A router that starts late gets the whole index from the recovery endpoints.
        await using var late = Frontend.Start(variables, "--router-mode", "kv");
        await late.ServesAsync("tiny", Limit);
        await BothServeAsync(late);
        for (var i = 0; i < 20; i++)
        {
            Assert.Equal(homes[i], await WorkerOfAsync(late, i));
        }
    }

    private static WorkerProcess StartWorker(string store, Dictionary<string, string> variables) =>
        WorkerProcess.StartSimulated(
            store,
            ["--block-size", "16", "--simulated-step-time-ms", "5", .. KvEventFlags.OnFreePort()],
            variables
        );

    private static async Task BothServeAsync(Frontend frontend)
    {
        var seen = new HashSet<ulong>();
        using var limit = new CancellationTokenSource(Limit);
        for (var i = 1000; seen.Count < 2; i++)
        {
            seen.Add(await WorkerOfAsync(frontend, i));
            limit.Token.ThrowIfCancellationRequested();
        }
    }

    private static async Task StoredAsync(WorkerProcess first, WorkerProcess second, int batches)
    {
        const string family = "dynamo_component_kv_publisher_zmq_events_total";
        await Polling.UntilAsync(
            "the events do not arrive",
            Limit,
            async () =>
                await first.MetricAsync(family, "stage=\"accepted\"") + await second.MetricAsync(family, "stage=\"accepted\"") >= batches
        );
    }

    private static async Task<ulong> WorkerOfAsync(Frontend frontend, int number) =>
        (
            await RoutedAnswer.AskAsync(
                frontend,
                string.Join(' ', Enumerable.Repeat(number.ToString(CultureInfo.InvariantCulture), 60)),
                tokens: 2
            )
        ).Worker;
}
