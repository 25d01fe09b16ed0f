using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing.Servers;

namespace Dynamo.Vllm.PeerTests;

/// <summary>The official frontend of the release that this worker stands in for, from <c>shared/peers/setup-peers</c>.</summary>
internal sealed class OfficialFrontend : IAsyncDisposable
{
    private readonly ServerProcess _process;
    private readonly HttpClient _http;

    private OfficialFrontend(ServerProcess process, int port)
    {
        _process = process;
        _http = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{port}"), Timeout = TimeSpan.FromSeconds(30) };
    }

    public static string Peers { get; } = Environment.GetEnvironmentVariable("DYNAMO_PEERS_DIR")
        ?? Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".cache", "dynamo-peers");

    public static string Model { get; } = Path.Combine(Peers, "models", "tiny-model");

    public static async Task<OfficialFrontend> StartAsync(params string[] variables)
    {
        var port = ServerProcess.FreePort();
        var process = await ServerProcess.StartAsync(
            "env",
            [
                "HF_HUB_OFFLINE=1", "DO_NOT_TRACK=1", "DYN_TCP_RPC_HOST=127.0.0.1", "DYN_TCP_RESPONSE_STREAM_HOST=127.0.0.1", "DYN_EVENT_PLANE=zmq",
                .. variables, Path.Combine(Peers, "venv", "bin", "python"), "-u", "-m", "dynamo.frontend", "--http-host", "127.0.0.1", "--http-port", $"{port}",
            ],
            "HTTP", "shared/peers/setup-peers frontend");
        return new OfficialFrontend(process, port);
    }

    public string Output => _process.Output;

    public async Task WaitForModelAsync(string model, TimeSpan timeLimit)
    {
        using var limit = new CancellationTokenSource(timeLimit);
        try
        {
            while (true)
            {
                if (await TryGetAsync($"/v1/models/{model}/ready") is { } text && text.Contains("\"ready\":true", StringComparison.Ordinal))
                {
                    return;
                }

                await Task.Delay(100, limit.Token);
            }
        }
        catch (OperationCanceledException)
        {
            throw new TimeoutException($"the frontend did not find {model} within {timeLimit}; it said:{Environment.NewLine}{Output}");
        }
    }

    /// <summary>Status and body of a completion of one prompt.</summary>
    public async Task<(int Status, string Body)> CompleteAsync(string model)
    {
        var body = new JsonObject { ["model"] = model, ["prompt"] = "hello world", ["max_tokens"] = 3 };
        using var content = new StringContent(body.ToJsonString(), Encoding.UTF8, "application/json");
        using var answer = await _http.PostAsync(new Uri("/v1/completions", UriKind.Relative), content);
        return ((int)answer.StatusCode, await answer.Content.ReadAsStringAsync());
    }

    public async ValueTask DisposeAsync()
    {
        _http.Dispose();
        await _process.DisposeAsync();
    }

    private async Task<string?> TryGetAsync(string path)
    {
        try
        {
            using var answer = await _http.GetAsync(new Uri(path, UriKind.Relative));
            return await answer.Content.ReadAsStringAsync();
        }
        catch (HttpRequestException)
        {
            return null; // not listening yet
        }
    }
}
