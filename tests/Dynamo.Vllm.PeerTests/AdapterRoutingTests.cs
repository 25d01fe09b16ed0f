using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Adapters;

namespace Dynamo.Vllm.PeerTests;

/// <summary>Two of our workers with an adapter behind the official frontend with
/// its KV router: whose cache a prompt is in, and what a drain costs.</summary>
[Trait("Category", "Peers")]
public sealed class AdapterRoutingTests : IAsyncLifetime
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(5);

    private readonly TemporaryFolder _store = new();
    private readonly TemporaryFolder _adapter = new();
    private readonly List<WorkerProcess> _workers = [];
    private Frontend? _frontend;

    public Task InitializeAsync() => Task.CompletedTask;

    public async Task DisposeAsync()
    {
        foreach (var worker in _workers)
        {
            await worker.DisposeAsync();
        }

        await (_frontend?.DisposeAsync() ?? ValueTask.CompletedTask);
        _store.Dispose();
        _adapter.Dispose();
    }

    [PeerFact]
    public async Task A_prompt_goes_to_the_worker_that_has_it_cached_for_this_adapter_and_a_drain_costs_no_client_its_answer()
    {
        await TestAdapter.MakeAsync(Peers.TinyModel, _adapter.Path, 1);
        var variables = AdapterPairFixture.Variables(_store.Path);
        _frontend = Frontend.Start(Peers.Variables(_store.Path), "--router-mode", "kv");
        for (var i = 0; i < 2; i++)
        {
            var worker = WorkerProcess.Start(
                _store.Path,
                ["--python", Peers.Python, .. Peers.EngineArguments, .. AdapterPairFixture.Flags, .. KvEventFlags.OnFreePort()],
                variables
            );
            _workers.Add(worker);
            await worker.ReadyAsync(Limit);
            await LoadAsync(worker);
        }

        await _frontend.ServesAsync("ad", Limit);
        await Polling.UntilAsync(
            "the frontend does not know both",
            Limit,
            async () =>
            {
                await CompleteAsync("tiny", $"warm {Guid.NewGuid()}", 1);
                return (await Task.WhenAll(_workers.Select(worker => worker.MetricAsync("vllm:request_success_total")))).All(count =>
                    count > 0
                );
            }
        );

        // Prompts of some blocks each, which the two share out among them; then each again, a part of it cached at one worker only.
        string[] prompts =
        [
            .. Enumerable.Range(0, 12).Select(i => string.Join(' ', Enumerable.Range(0, 50).Select(n => $"p{i} w{n % 7}"))),
        ];
        foreach (var prompt in prompts)
        {
            Assert.Equal(0, (await CompleteAsync("ad", prompt, 4)).Cached);
        }

        foreach (var prompt in prompts)
        {
            Assert.True((await CompleteAsync("ad", prompt, 4)).Cached >= 64, "the router sent it to the other worker");
        }

        Assert.Equal(0, (await CompleteAsync("tiny", prompts[0], 4)).Cached); // the same tokens without the adapter are other blocks

        var whole = (await CompleteAsync("ad", "on and on", 800)).Text;
        var running = Enumerable.Range(0, 4).Select(_ => CompleteAsync("ad", "on and on", 800)).ToList();
        // All four have reached a worker, and some this one: what is still on its way at a SIGTERM is another matter.
        await Polling.UntilAsync(
            "not all run",
            Limit,
            async () =>
            {
                var counts = await Task.WhenAll(_workers.Select(worker => worker.MetricAsync("vllm:num_requests_running")));
                return (counts[0] > 0 && counts.Sum() == 4) || running.Any(answer => answer.IsCompleted);
            }
        );
        Assert.DoesNotContain(running, answer => answer.IsCompleted); // else the drain below would show nothing
        _workers[0].Process.Signal("TERM");
        await _workers[0].Process.LineAsync("Stopping", Limit);
        Assert.All(await Task.WhenAll(running), answer => Assert.Equal(whole, answer.Text));
        Assert.Equal(0, await _workers[0].Process.ExitCodeAsync(Limit));
        Assert.Equal(whole, (await CompleteAsync("ad", "on and on", 800)).Text);
    }

    private string Tails => string.Join('\n', _workers.Select(worker => worker.Process.Tail).Append(_frontend!.Process.Tail));

    private async Task LoadAsync(WorkerProcess worker)
    {
        var body = new JsonObject
        {
            ["lora_name"] = "ad",
            ["source"] = new JsonObject { ["uri"] = $"file://{_adapter.Path}" },
        };
        using var response = await worker.Http.PostAsync(
            "/v1/loras",
            new StringContent(body.ToJsonString(), Encoding.UTF8, "application/json")
        );
        Assert.True(response.IsSuccessStatusCode, await response.Content.ReadAsStringAsync());
    }

    private async Task<(string Text, int Cached)> CompleteAsync(string model, string prompt, int tokens)
    {
        var body = new JsonObject
        {
            ["model"] = model,
            ["prompt"] = prompt,
            ["max_tokens"] = tokens,
            ["temperature"] = 0,
            ["ignore_eos"] = true,
        };
        using var response = await _frontend!.PostAsync("/v1/completions", body);
        var answer = JsonNode.Parse(await response.Content.ReadAsStringAsync())!;
        Assert.True(response.IsSuccessStatusCode, $"{answer.ToJsonString()}\n{Tails}");
        return ((string)answer["choices"]![0]!["text"]!, (int?)answer["usage"]?["prompt_tokens_details"]?["cached_tokens"] ?? 0);
    }
}
