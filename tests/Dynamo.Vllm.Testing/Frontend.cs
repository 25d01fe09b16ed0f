using System.Globalization;
using System.Net;
using System.Net.Http.Json;
using System.Text.Json.Nodes;

namespace Dynamo.Vllm.Testing;

/// <summary>The official frontend as a process.</summary>
public sealed class Frontend : IAsyncDisposable
{
    private Frontend(ChildProcess process, int port)
    {
        Process = process;
        Http = new HttpClient(new SocketsHttpHandler { MaxConnectionsPerServer = 512 })
        {
            BaseAddress = new Uri($"http://127.0.0.1:{port}"),
            Timeout = TimeSpan.FromMinutes(3),
        };
    }

    public ChildProcess Process { get; }

    public HttpClient Http { get; }

    public static Frontend Start(IReadOnlyDictionary<string, string> environment, params string[] arguments)
    {
        var port = FreePorts.Next();
        var process = new ChildProcess(
            "frontend",
            Peers.Python,
            ["-m", "dynamo.frontend", "--http-host", "127.0.0.1", "--http-port", port.ToString(CultureInfo.InvariantCulture), .. arguments],
            environment
        );
        return new Frontend(process, port);
    }

    /// <summary>Waits until the model is listed and a completion is answered.</summary>
    public Task ServesAsync(string model, TimeSpan limit) =>
        WaitAsync(
            $"'{model}' is not served",
            limit,
            async () =>
            {
                using var response = await PostAsync(
                    "/v1/completions",
                    new JsonObject
                    {
                        ["model"] = model,
                        ["prompt"] = "hello",
                        ["max_tokens"] = 1,
                    }
                );
                return response.IsSuccessStatusCode;
            }
        );

    /// <summary>Polls, since the frontend announces nothing. A frontend that does not listen yet counts as not there yet.</summary>
    /// <param name="problem">What is wrong while the condition does not hold.</param>
    public Task WaitAsync(string problem, TimeSpan limit, Func<Task<bool>> condition) =>
        Polling.UntilAsync(
            problem,
            limit,
            async () =>
            {
                try
                {
                    return await condition();
                }
                catch (HttpRequestException)
                {
                    return false; // not listening yet
                }
            },
            () => Process.Tail
        );

    public async Task<bool> HasModelAsync() => (await Http.GetFromJsonAsync<JsonObject>("/v1/models"))!["data"]!.AsArray().Count > 0;

    public async Task<double> MetricAsync(string family, params string[] parts) =>
        MetricSamples.Sum(await Http.GetStringAsync("/metrics"), family, parts);

    public async Task<(HttpStatusCode Status, JsonNode Body)> CompleteAsync(JsonObject body)
    {
        using var response = await PostAsync("/v1/completions", body);
        return (response.StatusCode, (await response.Content.ReadFromJsonAsync<JsonNode>())!);
    }

    /// <param name="path">Of the HTTP API.</param>
    /// <param name="body">Request.</param>
    /// <param name="instance">The worker that must serve it (a decode worker where there are such); null lets the frontend choose.</param>
    /// <param name="prefill">The prefill worker that must serve it first.</param>
    /// <param name="cancellationToken">A client that leaves.</param>
    public async Task<HttpResponseMessage> PostAsync(
        string path,
        JsonObject body,
        ulong? instance = null,
        ulong? prefill = null,
        CancellationToken cancellationToken = default
    )
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, path) { Content = JsonContent.Create(body) };
        if (instance is { } id)
        {
            request.Headers.Add("x-dynamo-worker-instance-id", id.ToString(CultureInfo.InvariantCulture));
        }

        if (prefill is { } prefillId)
        {
            request.Headers.Add("x-dynamo-prefill-instance-id", prefillId.ToString(CultureInfo.InvariantCulture));
        }

        return await Http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, cancellationToken);
    }

    public async ValueTask DisposeAsync()
    {
        Http.Dispose();
        Process.Signal("TERM");
        await Process.DisposeAsync();
    }
}
