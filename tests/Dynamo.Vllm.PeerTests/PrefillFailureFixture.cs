using System.Net;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Logs;

namespace Dynamo.Vllm.PeerTests;

/// <summary>The official frontend, our decode worker on the simulated engine, and a scripted prefill worker.</summary>
public sealed class PrefillFailureFixture : IAsyncLifetime
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(2);

    private readonly LogCapture _log = new();
    private TemporaryFolder? _store;
    private JsonObject? _decodeCard;
    private ScriptedPrefill? _prefill;

    internal Frontend Frontend { get; private set; } = null!;

    internal WorkerProcess Decode { get; private set; } = null!;

    internal ScriptedPrefill Prefill => _prefill ?? throw new InvalidOperationException("no prefill worker: call RecoverAsync first");

    /// <summary>What the frontend answered before there was a prefill worker, and how often the decode worker was called for it.</summary>
    internal (HttpStatusCode Status, string Body, double DecodeCalls) BeforePrefill { get; private set; }

    internal string Log => $"{_log.Text}\n{Decode.Process.Tail}\n{Frontend.Process.Tail}";

    public async Task InitializeAsync()
    {
        if (PeerFactAttribute.SkipReason is not null)
        {
            return; // every test of the class is skipped
        }

        _store = new TemporaryFolder();
        var variables = Peers.Variables(_store.Path);
        // Long enough to be seen, short enough not to be waited for long.
        variables["DYN_RUNTIME_INHIBITED_DURATION_SECS"] = "2";
        Frontend = Frontend.Start(variables, "--router-mode", "round-robin");
        Decode = WorkerProcess.StartSimulated(
            _store.Path,
            ["--disaggregation-mode", "decode", "--kv-transfer-config", """{"kv_connector":"NixlConnector","kv_role":"kv_consumer"}"""],
            new Dictionary<string, string>(variables) { ["VLLM_NIXL_SIDE_CHANNEL_HOST"] = "127.0.0.1" }
        );
        await Decode.ReadyAsync(Limit);
        await Frontend.WaitAsync(
            "the frontend did not find the decode worker",
            Limit,
            async () =>
            {
                var (status, body) = await AskAsync("is there a decode worker?");
                BeforePrefill = (status, body, await DecodeCallsAsync());
                return status == HttpStatusCode.ServiceUnavailable; // 404 until it has read the card
            }
        );
        var card = Directory.GetFiles(Path.Combine(_store.Path, "v1", "mdc")).Single(path => !Path.GetFileName(path).StartsWith('.'));
        _decodeCard = JsonNode.Parse(await File.ReadAllTextAsync(card))!["card_json"]!.AsObject();
    }

    /// <summary>Waits until a hand-over works: the frontend avoids a prefill worker for a while after its connection broke.</summary>
    internal async Task RecoverAsync()
    {
        _prefill ??= await ScriptedPrefill.StartAsync(_store!.Path, _decodeCard!, _log);
        Prefill.Behaviour = PrefillBehaviour.HandsOver;
        await Frontend.WaitAsync(
            "a hand-over does not work",
            Limit,
            async () => (await AskAsync("does a hand-over work?")).Status == HttpStatusCode.OK
        );
    }

    internal async Task StopPrefillAsync()
    {
        if (_prefill is { } prefill)
        {
            _prefill = null;
            await prefill.DisposeAsync();
        }
    }

    internal async Task<(HttpStatusCode Status, string Body)> AskAsync(string prompt)
    {
        var body = new JsonObject
        {
            ["model"] = "tiny",
            ["prompt"] = prompt,
            ["max_tokens"] = 4,
            ["min_tokens"] = 4,
            ["temperature"] = 0,
        };
        using var response = await Frontend.PostAsync("/v1/completions", body);
        return (response.StatusCode, await response.Content.ReadAsStringAsync());
    }

    internal Task<double> DecodeCallsAsync() => Decode.MetricAsync("dynamo_component_requests_total", "dynamo_endpoint=\"generate\"");

    public async Task DisposeAsync()
    {
        if (_store is null)
        {
            return;
        }

        await StopPrefillAsync();
        await Decode.DisposeAsync();
        await Frontend.DisposeAsync();
        _store.Dispose();
    }
}
