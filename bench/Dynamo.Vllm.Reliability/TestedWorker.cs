using System.Globalization;
using Dynamo.Vllm.Engine.Processes;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.Reliability;

/// <summary>One worker of either make, with its status port.</summary>
internal sealed class TestedWorker : IAsyncDisposable
{
    private static readonly TimeSpan StartLimit = TimeSpan.FromMinutes(5);

    private const string Transfer = """{"kv_connector":"NixlConnector","kv_role":"kv_both"}""";

    private readonly HttpClient _http;

    private TestedWorker(ChildProcess process, string? role, int port)
    {
        Process = process;
        Role = role;
        _http = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{port}"), Timeout = TimeSpan.FromSeconds(2) };
    }

    public ChildProcess Process { get; }

    /// <summary>As <c>--disaggregation-mode</c> says it; null: aggregated.</summary>
    public string? Role { get; }

    /// <summary>Started and ready.</summary>
    public static async Task<TestedWorker> StartAsync(Stack stack, IReadOnlyDictionary<string, string> variables, string? role = null)
    {
        var port = FreePorts.Next();
        var environment = new Dictionary<string, string>(variables) { ["DYN_SYSTEM_PORT"] = port.ToString(CultureInfo.InvariantCulture) };
        var (file, arguments) = Command(stack);
        string[] roles = role is null ? [] : ["--disaggregation-mode", role, "--kv-transfer-config", Transfer];
        var worker = new TestedWorker(new ChildProcess(stack.ToString(), file, [.. arguments, .. roles], environment), role, port);
        await Polling.UntilAsync(
            "the worker is not ready",
            StartLimit,
            async () => worker.Process.HasExited || await worker.IsReadyAsync() == true,
            () => worker.Process.Tail
        );
        return worker.Process.HasExited ? throw new InvalidOperationException(worker.Process.Tail) : worker;
    }

    /// <summary>What /health says; null if it does not answer within two seconds.</summary>
    public async Task<bool?> IsReadyAsync()
    {
        try
        {
            using var response = await _http.GetAsync("/health");
            return response.IsSuccessStatusCode;
        }
        catch (Exception exception) when (exception is HttpRequestException or OperationCanceledException)
        {
            return null;
        }
    }

    /// <summary>Sends a signal to vLLM's processes, the deepest first, so that none is restarted or blamed by its parent.</summary>
    public void SignalEngine(string signal)
    {
        foreach (var id in ChildProcesses.Descendants(Process.Id).Reverse().Where(IsEngine))
        {
            Process.Signal(signal, id);
        }
    }

    public async ValueTask DisposeAsync()
    {
        _http.Dispose();
        await Process.DisposeAsync();
    }

    private static bool IsEngine(int id)
    {
        try
        {
            return File.ReadAllText($"/proc/{id}/comm").StartsWith("VLLM::", StringComparison.Ordinal);
        }
        catch (IOException)
        {
            return false; // it has ended
        }
    }

    private static (string File, string[] Arguments) Command(Stack stack)
    {
        string[] model = [.. Peers.EngineArguments, "--max-num-seqs", "64"];
        var assembly = Path.Combine(AppContext.BaseDirectory, "Dynamo.Vllm.Worker.dll");
        return stack switch
        {
            Stack.Official => (Peers.Python, ["-m", "dynamo.vllm", .. model]),
            Stack.Ours => ("dotnet", [assembly, "--python", Peers.Python, .. model]),
            _ => (
                "dotnet",
                [
                    assembly,
                    "--simulated-engine",
                    "--model",
                    Path.Combine(SimulatedPaths.SimulatedEngine, "model"),
                    "--served-model-name",
                    "tiny",
                    "--max-model-len",
                    "1024",
                    "--simulated-step-time-ms",
                    "20",
                    "--max-num-seqs",
                    "64",
                ]
            ),
        };
    }
}
