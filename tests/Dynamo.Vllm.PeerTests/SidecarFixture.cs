using System.Globalization;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PeerTests;

/// <summary>
/// One worker of ours on real vLLM in two places: behind an official frontend as any worker, and, over vLLM's own gRPC contract, behind the
/// official sidecar and a second official frontend, which know nothing of the first.
/// </summary>
public sealed class SidecarFixture : IAsyncLifetime
{
    public const string Model = "tiny";

    /// <summary>A second name of the same.</summary>
    public const string Alias = "tiny-alias";

    private static readonly TimeSpan StartLimit = TimeSpan.FromMinutes(5);

    private TemporaryFolder? _ordinaryStore;
    private TemporaryFolder? _sidecarStore;

    public WorkerProcess Worker { get; private set; } = null!;

    public ChildProcess Sidecar { get; private set; } = null!;

    /// <summary>In front of the worker itself.</summary>
    public Frontend Ordinary { get; private set; } = null!;

    /// <summary>In front of the sidecar.</summary>
    public Frontend Fronted { get; private set; } = null!;

    public string GrpcAddress { get; private set; } = "";

    public async Task InitializeAsync()
    {
        if (Peers.Folder is null && Environment.GetEnvironmentVariable("CI") != "true")
        {
            return; // every test of the class is skipped
        }

        _ordinaryStore = new TemporaryFolder();
        _sidecarStore = new TemporaryFolder();
        var port = FreePorts.Next().ToString(CultureInfo.InvariantCulture);
        GrpcAddress = $"http://127.0.0.1:{port}";
        // A second for what is on its way when the worker stops; the default only makes the test longer.
        var ordinary = new Dictionary<string, string>(Peers.Variables(_ordinaryStore.Path))
        {
            ["DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS"] = "1",
        };
        Worker = WorkerProcess.Start(
            _ordinaryStore.Path,
            [
                "--python",
                Peers.Python,
                .. Peers.EngineArguments,
                "--served-model-name",
                Model,
                Alias,
                // As the native server's whose answers were captured.
                "--max-model-len",
                "2048",
                "--num-gpu-blocks-override",
                "512",
                .. KvEventFlags.OnFreePort(),
                "--grpc-requests",
                "--grpc-port",
                port,
            ],
            ordinary
        );
        // All at once: they wait for each other, and the sidecar asks each second.
        var fronted = Peers.PlaneVariables(_sidecarStore.Path);
        Ordinary = Frontend.Start(ordinary);
        Fronted = Frontend.Start(fronted);
        Sidecar = StartSidecar(port, fronted);
        await Worker.ReadyAsync(StartLimit);
        await Ordinary.ServesAsync(Model, StartLimit);
        await Fronted.ServesAsync(Model, StartLimit);
    }

    public async Task DisposeAsync()
    {
        if (_ordinaryStore is null || _sidecarStore is null)
        {
            return;
        }

        await Sidecar.DisposeAsync();
        await Worker.DisposeAsync();
        await Ordinary.DisposeAsync();
        await Fronted.DisposeAsync();
        _ordinaryStore.Dispose();
        _sidecarStore.Dispose();
    }

    /// <param name="port">Of a worker, for gRPC.</param>
    /// <param name="variables">Its own planes.</param>
    public static ChildProcess StartSidecar(string port, IReadOnlyDictionary<string, string> variables) =>
        new("sidecar", Peers.Python, ["-m", "dynamo.vllm.sidecar", "--grpc-endpoint", $"127.0.0.1:{port}"], variables);

    /// <summary>What a client of either frontend gets, in one piece or as a stream put together.</summary>
    public static async Task<JsonObject> AskAsync(Frontend frontend, string path, JsonObject request, bool isStreamed)
    {
        var body = request.DeepClone().AsObject();
        body["model"] ??= Model;
        if (isStreamed)
        {
            body["stream"] = true;
        }

        using var response = await frontend.PostAsync(path, body);
        var text = await response.Content.ReadAsStringAsync();
        var answer =
            isStreamed && response.IsSuccessStatusCode ? TextAnswer.OfEvents(text) : TextAnswer.Whole(JsonNode.Parse(text)!).AsObject();
        answer["status"] = (int)response.StatusCode;
        return answer;
    }
}
