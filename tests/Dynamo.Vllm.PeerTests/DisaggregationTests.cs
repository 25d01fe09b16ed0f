using System.Globalization;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PeerTests;

/// <summary>Prefill and decode on real vLLM with NIXL over tcp: ours with ours, and ours with official workers on either side.</summary>
[Trait("Category", "Peers")]
public sealed class DisaggregationTests
{
    private const string Transfer = """{"kv_connector":"NixlConnector","kv_role":"kv_both","kv_buffer_device":"cpu"}""";

    private static readonly TimeSpan StartLimit = TimeSpan.FromMinutes(5);

    [PeerFact]
    public Task Prefill_ours_decode_ours() => RunAsync(isPrefillOurs: true, isDecodeOurs: true);

    [PeerFact]
    public Task Prefill_ours_decode_official() => RunAsync(isPrefillOurs: true, isDecodeOurs: false);

    [PeerFact]
    public Task Prefill_official_decode_ours() => RunAsync(isPrefillOurs: false, isDecodeOurs: true);

    private static async Task RunAsync(bool isPrefillOurs, bool isDecodeOurs)
    {
        var expected = await AggregatedAnswersAsync();
        using var store = new TemporaryFolder();
        var variables = Peers.Variables(store.Path);
        variables["UCX_TLS"] = "tcp,self,sm,cma";
        await using var frontend = Frontend.Start(variables, "--router-mode", "round-robin");
        await using var prefill = await StartAsync(store.Path, "prefill", isPrefillOurs, variables);
        await using var decode = await StartAsync(store.Path, "decode", isDecodeOurs, variables);
        await frontend.ServesAsync("tiny", StartLimit);
        for (var i = 0; i < Prompts.Count; i++)
        {
            Assert.Equal(expected[i], await AnswerAsync(frontend, Prompts[i]));
        }

        await CancelSomeAsync(frontend, 40);
        Assert.Equal(expected[0], await AnswerAsync(frontend, Prompts[0])); // both engines live on
    }

    private static IReadOnlyList<string> Prompts { get; } =
        [.. Enumerable.Range(0, 30).Select(i => string.Join(' ', Enumerable.Range(i, 3 + (i * 2)).Select(n => $"word{n % 7}")))];

    private static string[]? _aggregated;

    /// <summary>The same prompts on one aggregated worker of ours; computed once.</summary>
    private static async Task<string[]> AggregatedAnswersAsync()
    {
        if (_aggregated is null)
        {
            using var store = new TemporaryFolder();
            var variables = Peers.Variables(store.Path);
            await using var frontend = Frontend.Start(variables, "--router-mode", "round-robin");
            await using var worker = WorkerProcess.Start(store.Path, ["--python", Peers.Python, .. Peers.EngineArguments], variables);
            await worker.ReadyAsync(StartLimit);
            await frontend.ServesAsync("tiny", StartLimit);
            var answers = new List<string>();
            foreach (var prompt in Prompts)
            {
                answers.Add(await AnswerAsync(frontend, prompt));
            }

            _aggregated = [.. answers];
        }

        return _aggregated;
    }

    private static async Task<string> AnswerAsync(Frontend frontend, string prompt)
    {
        using var response = await frontend.PostAsync("/v1/completions", new JsonObject { ["model"] = "tiny", ["prompt"] = prompt, ["max_tokens"] = 8, ["temperature"] = 0 });
        var text = await response.Content.ReadAsStringAsync();
        Assert.True(response.IsSuccessStatusCode, $"{prompt}: {text}");
        return JsonNode.Parse(text)!["choices"]![0]!["text"]!.GetValue<string>();
    }

    private static async Task CancelSomeAsync(Frontend frontend, int count)
    {
        var random = new Random(5);
        var delays = Enumerable.Range(0, count).Select(_ => random.Next(1, 150)).ToArray();
        await Parallel.ForEachAsync(delays, new ParallelOptions { MaxDegreeOfParallelism = 8 }, async (delay, _) =>
        {
            using var cancel = new CancellationTokenSource(delay);
            try
            {
                var body = new JsonObject { ["model"] = "tiny", ["prompt"] = $"cancel me after {delay} please or not", ["max_tokens"] = 40, ["stream"] = true };
                using var response = await frontend.PostAsync("/v1/completions", body, cancellationToken: cancel.Token);
                await response.Content.ReadAsStringAsync(cancel.Token);
            }
            catch (OperationCanceledException)
            {
                // The client left, which is the point.
            }
        });
    }

    private static async Task<IAsyncDisposable> StartAsync(string store, string mode, bool isOurs, Dictionary<string, string> variables)
    {
        var own = new Dictionary<string, string>(variables) { ["VLLM_NIXL_SIDE_CHANNEL_PORT"] = FreePorts.Next().ToString(CultureInfo.InvariantCulture), ["VLLM_NIXL_SIDE_CHANNEL_HOST"] = "127.0.0.1" };
        string[] arguments = [.. Peers.EngineArguments, "--disaggregation-mode", mode, "--kv-transfer-config", Transfer];
        if (isOurs)
        {
            var worker = WorkerProcess.Start(store, ["--python", Peers.Python, .. arguments], own);
            await worker.ReadyAsync(StartLimit);
            return worker;
        }

        own["DYN_SYSTEM_PORT"] = FreePorts.Next().ToString(CultureInfo.InvariantCulture);
        return new ChildProcess($"official {mode}", Peers.Python, ["-m", "dynamo.vllm", .. arguments], own);
    }
}
