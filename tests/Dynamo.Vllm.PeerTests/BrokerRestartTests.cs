using System.Diagnostics;
using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Servers;
using Dynamo.Vllm.Transports.Client;

namespace Dynamo.Vllm.PeerTests;

/// <summary>nats-server is killed and started again under streams: answers do not travel through it, and new requests flow soon.</summary>
[Trait("Category", "Peers")]
public sealed class BrokerRestartTests : IAsyncLifetime
{
    private const int Streams = 64;
    private const int Tokens = 250;

    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(1);
    private static readonly TimeSpan RecoveryMax = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan OutageTime = TimeSpan.FromSeconds(1);

    private readonly TemporaryFolder _store = new();
    private readonly Dictionary<string, string> _variables;
    private NatsServer _nats = null!;
    private WorkerProcess _worker = null!;

    public BrokerRestartTests()
    {
        _variables = Peers.Folder is null ? [] : Peers.Variables(_store.Path);
        _variables["DYN_REQUEST_PLANE"] = "nats";
    }

    public async Task InitializeAsync()
    {
        _nats = await NatsServer.StartAsync();
        _variables["NATS_SERVER"] = _nats.Url;
        _worker = WorkerProcess.StartSimulated(_store.Path, ["--simulated-step-time-ms", "20", "--max-num-seqs", "256"], _variables);
        await _worker.ReadyAsync(Limit);
    }

    public async Task DisposeAsync()
    {
        await _worker.DisposeAsync();
        await _nats.DisposeAsync();
        _store.Dispose();
    }

    [PeerFact]
    public async Task Streams_of_our_own_client_survive_and_new_ones_flow_within_five_seconds()
    {
        var subject = Assert.Single(FileDirectoryReader.Find(_store.Path, "generate", "nats_tcp"));
        await using var client = await WorkerClient.ConnectNatsAsync(_nats.Url, subject, PayloadCodec.MessagePack, default);
        var begun = new CountdownEvent(Streams);
        var streams = Enumerable.Range(0, Streams).Select(i => StreamAsync(client, i, Tokens, begun)).ToList();
        Assert.True(begun.Wait(Limit), "not every stream began");

        await RestartUnderAsync(streams, () => StreamAsync(client, 1000, 1, begun: null));
        Assert.All(await Task.WhenAll(streams).WaitAsync(Limit), received => Assert.Equal(Tokens, received));
        Assert.All(
            await Task.WhenAll(Enumerable.Range(0, Streams).Select(i => StreamAsync(client, i, 20, begun: null))).WaitAsync(Limit),
            received => Assert.Equal(20, received)
        );
        Assert.Equal(0, await _worker.MetricAsync("dynamo_component_cancellation_total", "\"generate\""));
        await SettledAsync();
    }

    [PeerFact]
    public async Task Streams_of_the_official_frontend_survive_and_new_ones_flow_within_five_seconds()
    {
        await using var frontend = Frontend.Start(_variables);
        await frontend.ServesAsync("tiny", Limit);
        var begun = new CountdownEvent(Streams);
        var streams = Enumerable.Range(0, Streams).Select(i => StreamAsync(frontend, i, Tokens, begun)).ToList();
        Assert.True(begun.Wait(Limit), "not every stream began");

        await RestartUnderAsync(streams, () => StreamAsync(frontend, 1000, 1, begun: null));
        Assert.All(await Task.WhenAll(streams).WaitAsync(Limit), received => Assert.Equal(Tokens, received));
        await SettledAsync();
    }

    /// <summary>Kills the server and starts it again: new requests flow soon, and the streams run all the while.</summary>
    private async Task RestartUnderAsync(IReadOnlyList<Task<int>> streams, Func<Task> ask)
    {
        await _nats.Process.KillAsync();
        await Task.Delay(OutageTime); // the outage itself
        await _nats.StartAgainAsync();
        var back = Stopwatch.GetTimestamp();
        await AskUntilAnsweredAsync(ask);
        Assert.InRange(Stopwatch.GetElapsedTime(back), TimeSpan.Zero, RecoveryMax);
        Assert.Contains(streams, stream => !stream.IsCompleted);
    }

    /// <summary>Polls: a request may meet a worker that has not subscribed again yet, or a client that has not connected again.</summary>
    private static async Task AskUntilAnsweredAsync(Func<Task> ask)
    {
        for (var tries = 0; ; tries++)
        {
            try
            {
                await ask().WaitAsync(TimeSpan.FromSeconds(1));
                return;
            }
            catch (Exception exception) when (exception is WorkerCallException or TimeoutException or HttpRequestException && tries < 100)
            {
                await Task.Delay(50);
            }
        }
    }

    private static async Task<int> StreamAsync(WorkerClient client, int number, int tokens, CountdownEvent? begun)
    {
        var body = new JsonObject
        {
            ["token_ids"] = new JsonArray(10 + (number % 100), 11, 12),
            ["stop_conditions"] = new JsonObject { ["max_tokens"] = tokens, ["ignore_eos"] = true },
            ["sampling_options"] = new JsonObject { ["temperature"] = 0.0 },
        };
        await using var call = await client.CallAsync(Encoding.UTF8.GetBytes(body.ToJsonString()), default);
        var received = 0;
        await foreach (var item in call.ReadAsync(default))
        {
            Assert.False(item.ContainsKey("error"), item.ToJsonString());
            if (received == 0)
            {
                begun?.Signal();
            }

            received += item["data"]!["token_ids"]!.AsArray().Count;
        }

        Assert.True(call.IsComplete);
        return received;
    }

    private static async Task<int> StreamAsync(Frontend frontend, int number, int tokens, CountdownEvent? begun)
    {
        var body = new JsonObject
        {
            ["model"] = "tiny",
            ["prompt"] = $"stream {number}",
            ["max_tokens"] = tokens,
            ["temperature"] = 0,
            ["ignore_eos"] = true,
            ["stream"] = true,
            ["stream_options"] = new JsonObject { ["include_usage"] = true },
        };
        using var response = await frontend.PostAsync("/v1/completions", body);
        response.EnsureSuccessStatusCode();
        using var reader = new StreamReader(await response.Content.ReadAsStreamAsync());
        var received = -1;
        while (await reader.ReadLineAsync() is { } line)
        {
            Assert.False(line.StartsWith("event: error", StringComparison.Ordinal), line);
            if (line.StartsWith("data: {", StringComparison.Ordinal))
            {
                var chunk = JsonNode.Parse(line[6..])!;
                Assert.Null(chunk["error"]);
                if (received < 0)
                {
                    received = 0;
                    begun?.Signal();
                }

                received = chunk["usage"]?["completion_tokens"]?.GetValue<int>() ?? received;
            }
        }

        return received;
    }

    private Task SettledAsync() =>
        Polling.UntilAsync(
            "requests are still in flight",
            Limit,
            async () => await _worker.MetricAsync("dynamo_component_inflight_requests", "\"generate\"") == 0
        );
}
