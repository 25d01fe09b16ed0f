using System.Globalization;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Transports.Client;

namespace Dynamo.Vllm.PeerTests;

/// <summary>
/// A model whose tensors are spread over two nodes, on real vLLM: the official worker leads, and ours is the node without a head.
/// </summary>
[Trait("Category", "Peers")]
public sealed class SeveralNodesTests
{
    private static readonly TimeSpan StartLimit = TimeSpan.FromMinutes(5);

    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    [PeerFact]
    public async Task A_headless_node_of_ours_holds_a_half_of_the_official_leader_s_model()
    {
        using var store = new TemporaryFolder();
        using var own = new TemporaryFolder();
        string[] spread =
        [
            "--tensor-parallel-size",
            "2",
            "--nnodes",
            "2",
            "--master-addr",
            "127.0.0.1",
            "--master-port",
            FreePorts.Next().ToString(CultureInfo.InvariantCulture),
        ];
        await using var leader = new ChildProcess(
            "official",
            Peers.Python,
            ["-m", "dynamo.vllm", .. Peers.EngineArguments, .. spread, "--node-rank", "0"],
            Peers.Variables(store.Path)
        );
        await using var node = WorkerProcess.Start(
            own.Path,
            ["--python", Peers.Python, .. Peers.EngineArguments, .. spread, "--node-rank", "1", "--headless"],
            Peers.Variables(own.Path)
        );
        var address = "";
        await Polling.UntilAsync(
            "the leader does not serve",
            StartLimit,
            () =>
                Task.FromResult(
                    (address = FileDirectoryReader.FindTcp(store.Path, "generate").FirstOrDefault("")).Length > 0
                        || leader.HasExited
                        || node.Process.HasExited
                ),
            () => $"{leader.Tail}\n{node.Process.Tail}"
        );
        Assert.True(address.Length > 0, $"{leader.Tail}\n{node.Process.Tail}");

        // The leader has half of the numbers, so each token needs the other node.
        await using var worker = await DirectWorker.ConnectAsync(address);
        var answer = await worker.AskAsync(
            """{"token_ids":[1,45,375,319],"stop_conditions":{"max_tokens":8,"ignore_eos":true},"sampling_options":{"temperature":0.0}}"""
        );
        Assert.Equal("[1760,344,1721,565,158,1412,366,79]", answer!["choice 0"]!["token_ids"]!.ToJsonString()); // as one node answers
        Assert.Empty(Directory.GetFiles(own.Path, "*", SearchOption.AllDirectories)); // a node without a head registers nothing
        node.Process.Signal("TERM");
        Assert.Equal(0, await node.Process.ExitCodeAsync(Limit));
    }
}
