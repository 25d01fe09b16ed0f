using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Servers;

namespace Dynamo.Vllm.PeerTests;

/// <summary>Three members of etcd, each killed and started again in turn, while requests flow through the official frontend.</summary>
[Trait("Category", "Peers")]
public sealed class EtcdClusterTests
{
    private const int Kills = 20;
    private const int Callers = 8;

    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(1);
    private static readonly TimeSpan OutageTime = TimeSpan.FromMilliseconds(700);

    [PeerFact]
    public async Task Twenty_kills_lose_no_request_and_leave_no_record_behind()
    {
        using var store = new TemporaryFolder();
        var members = await EtcdServer.StartClusterAsync();
        try
        {
            var variables = Peers.Variables(store.Path);
            variables["DYN_DISCOVERY_BACKEND"] = "etcd";
            variables["ETCD_ENDPOINTS"] = string.Join(',', members.Select(member => member.Url));

            // The frontend has a lease, too, and shuts down when it loses it. That is not what is tested here; the worker's is short.
            await using var frontend = Frontend.Start(new Dictionary<string, string>(variables) { ["ETCD_LEASE_TTL"] = "300" });
            variables["ETCD_LEASE_TTL"] = "10";
            await using var worker = WorkerProcess.StartSimulated(store.Path, ["--simulated-step-time-ms", "20"], variables);
            await worker.ReadyAsync(Limit);
            await frontend.ServesAsync("tiny", Limit);
            var before = await RecordsAsync(members[0]);

            using var stopping = new CancellationTokenSource();
            var callers = Enumerable.Range(0, Callers).Select(i => CallAsync(frontend, i, stopping.Token)).ToList();
            try
            {
                for (var kill = 0; kill < Kills; kill++)
                {
                    var member = members[kill % members.Count];
                    await member.Process.KillAsync();
                    await Task.Delay(OutageTime); // the outage itself
                    await member.StartAgainAsync();
                    await RecordsAsync(member); // it has joined again, so that the next kill leaves two
                }
            }
            finally
            {
                await stopping.CancelAsync();
            }

            var answered = await Task.WhenAll(callers).WaitAsync(Limit);
            Assert.All(answered, count => Assert.InRange(count, 10, int.MaxValue));

            // Every record is there once, under the identity of the beginning: the lease was never lost.
            Assert.Equal(before, await RecordsAsync(members[0]));
            Assert.Single(before, key => key == $"v1/instances/dynamo/backend/generate/{worker.Instance}");
            Assert.DoesNotContain(worker.Process.Lines, line => line.Contains("is gone (expired, or revoked", StringComparison.Ordinal));

            worker.Process.Signal("TERM");
            Assert.Equal(0, await worker.Process.ExitCodeAsync(Limit));
            Assert.Empty(await RecordsAsync(members[1]));
        }
        finally
        {
            foreach (var member in members)
            {
                await member.DisposeAsync();
            }
        }
    }

    /// <summary>Requests one after the other until told to stop. Every one of them must be answered in full.</summary>
    private static async Task<int> CallAsync(Frontend frontend, int caller, CancellationToken stopping)
    {
        var answered = 0;
        while (!stopping.IsCancellationRequested)
        {
            var body = new JsonObject
            {
                ["model"] = "tiny",
                ["prompt"] = $"caller {caller} request {answered}",
                ["max_tokens"] = 30,
                ["temperature"] = 0,
                ["ignore_eos"] = true,
            };
            var (status, answer) = await frontend.CompleteAsync(body);
            Assert.True(status == System.Net.HttpStatusCode.OK, $"{status} {answer.ToJsonString()}\n{frontend.Process.Tail}");
            Assert.Equal(30, answer["usage"]!["completion_tokens"]!.GetValue<int>());
            answered++;
        }

        return answered;
    }

    /// <summary>All keys of workers, by a member that has a leader; polled, since elections take their time.</summary>
    private static async Task<IReadOnlyList<string>> RecordsAsync(EtcdServer member)
    {
        using var limit = new CancellationTokenSource(Limit);
        while (true)
        {
            try
            {
                return [.. (await member.ReadAsync()).Keys];
            }
            catch (Exception exception) when (exception is HttpRequestException or InvalidOperationException or TaskCanceledException)
            {
                await Task.Delay(50, limit.Token);
            }
        }
    }
}
