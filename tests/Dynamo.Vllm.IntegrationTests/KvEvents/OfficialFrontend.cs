using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Http.Json;
using System.Net.Sockets;
using System.Text.Json.Nodes;
using Dynamo.Vllm.IntegrationTests.Zmq;

namespace Dynamo.Vllm.IntegrationTests.KvEvents;

/// <summary>The reference's frontend with its KV router, in a process of its own.</summary>
internal sealed class OfficialFrontend : IAsyncDisposable
{
    private readonly Process _process;
    private readonly HttpClient _http;

    private OfficialFrontend(Process process, int port)
    {
        _process = process;
        _http = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{port.ToString(CultureInfo.InvariantCulture)}") };
    }

    /// <summary>Where its log goes, for a human after a failure.</summary>
    public static string LogPath { get; } = Path.Combine(Path.GetTempPath(), $"official-frontend-{Environment.ProcessId}.log");

    public static OfficialFrontend Start(string discovery, params string[] arguments)
    {
        int port;
        using (var probe = new TcpListener(IPAddress.Loopback, 0))
        {
            probe.Start();
            port = ((IPEndPoint)probe.LocalEndpoint).Port;
        }

        var start = new ProcessStartInfo("/bin/sh") { UseShellExecute = false };
        start.ArgumentList.Add("-c");
        start.ArgumentList.Add("exec \"$0\" \"$@\" > \"$LOG\" 2>&1");
        string[] all = [ZmqFactAttribute.Python!, "-m", "dynamo.frontend", "--http-host", "127.0.0.1", "--http-port", port.ToString(CultureInfo.InvariantCulture), "--router-mode", "kv", .. arguments];
        foreach (var argument in all)
        {
            start.ArgumentList.Add(argument);
        }

        foreach (var (name, value) in ((string, string)[])
        [
            ("LOG", LogPath), ("DYN_DISCOVERY_BACKEND", "file"), ("DYN_FILE_KV", discovery), ("DYN_REQUEST_PLANE", "tcp"), ("DYN_EVENT_PLANE", "zmq"),
            ("DYN_TCP_RPC_HOST", "127.0.0.1"), ("DYN_TCP_RESPONSE_STREAM_HOST", "127.0.0.1"), ("DYN_EVENT_PLANE_HOST", "127.0.0.1"), ("HF_HUB_OFFLINE", "1"),
        ])
        {
            start.Environment[name] = value;
        }

        return new OfficialFrontend(Process.Start(start)!, port);
    }

    /// <summary>Polls, since the frontend announces nothing (against style T2: a peer of others).</summary>
    public async Task WaitAsync(string what, Func<Task<bool>> condition)
    {
        var deadline = DateTime.UtcNow.AddSeconds(60);
        while (DateTime.UtcNow < deadline)
        {
            try
            {
                if (await condition())
                {
                    return;
                }
            }
            catch (HttpRequestException)
            {
                // not up yet
            }

            await Task.Delay(50);
        }

        throw new TimeoutException($"{what}; see {LogPath}\n{await MetricsAsync()}");
    }

    public async Task<string> MetricsAsync() => await _http.GetStringAsync(new Uri("/metrics", UriKind.Relative));

    /// <summary>Sum over the samples of a family whose line contains all the parts; 0 without any.</summary>
    public async Task<double> MetricAsync(string family, params string[] parts) =>
        (await MetricsAsync()).Split('\n')
            .Where(line => line.StartsWith(family, StringComparison.Ordinal) && Array.TrueForAll(parts, part => line.Contains(part, StringComparison.Ordinal)))
            .Sum(line => double.Parse(line[(line.LastIndexOf(' ') + 1)..], CultureInfo.InvariantCulture));

    public async Task<bool> HasModelAsync() => (await _http.GetFromJsonAsync<JsonObject>(new Uri("/v1/models", UriKind.Relative)))!["data"]!.AsArray().Count > 0;

    public async Task<(HttpStatusCode Status, JsonNode Body)> CompleteAsync(string prompt)
    {
        var body = new JsonObject
        {
            ["model"] = "tiny", ["prompt"] = prompt, ["max_tokens"] = 1, ["nvext"] = new JsonObject { ["extra_fields"] = new JsonArray("worker_id", "timing") },
        };
        using var response = await _http.PostAsJsonAsync(new Uri("/v1/completions", UriKind.Relative), body);
        return (response.StatusCode, (await response.Content.ReadFromJsonAsync<JsonNode>())!);
    }

    public async ValueTask DisposeAsync()
    {
        _http.Dispose();
        _process.Kill(entireProcessTree: true); // only what this test started
        await _process.WaitForExitAsync();
        _process.Dispose();
    }
}
