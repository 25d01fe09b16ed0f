using Dynamo.Vllm.Engine.Processes;

namespace Dynamo.Vllm.Testing;

/// <summary>Our worker as a process, with its status server.</summary>
public sealed class WorkerProcess : IAsyncDisposable
{
    private WorkerProcess(ChildProcess process, int port)
    {
        Process = process;
        // Some calls wait by design, such as an unload for what runs; how fast an answer must be is each test's own matter.
        Http = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{port}"), Timeout = TimeSpan.FromSeconds(60) };
    }

    public ChildProcess Process { get; }

    public HttpClient Http { get; }

    /// <summary>Instance id in hexadecimal, once it has joined.</summary>
    public string Instance { get; private set; } = "";

    /// <param name="store">Folder of the file discovery store.</param>
    /// <param name="arguments">Beside those that every worker here gets.</param>
    /// <param name="environment">Beside what keeps it on loopback.</param>
    /// <param name="launcher">A program, with its arguments, that becomes
    /// the worker by exec: <c>setsid</c>, <c>prlimit</c>, a shell.</param>
    /// <param name="isRead">False: nobody reads its outputs until <see cref="ChildProcess.Read"/>.</param>
    public static WorkerProcess Start(
        string store,
        IEnumerable<string> arguments,
        IReadOnlyDictionary<string, string>? environment = null,
        IEnumerable<string>? launcher = null,
        bool isRead = true
    )
    {
        var port = FreePorts.Next();
        var variables = new Dictionary<string, string>(environment ?? new Dictionary<string, string>())
        {
            ["DYN_FILE_KV"] = store,
            ["DYN_TCP_RPC_HOST"] = "127.0.0.1",
            ["DYN_EVENT_PLANE_HOST"] = "127.0.0.1",
            ["DYN_SYSTEM_PORT"] = port.ToString(System.Globalization.CultureInfo.InvariantCulture),
        };
        variables.TryAdd("DYN_DISCOVERY_BACKEND", "file");
        variables.TryAdd("DYN_SYSTEM_HOST", "127.0.0.1");
        var assembly = Path.Combine(AppContext.BaseDirectory, "Dynamo.Vllm.Worker.dll");
        string[] command = [.. launcher ?? [], "dotnet", assembly, .. arguments];
        return new WorkerProcess(new ChildProcess("dynamo-vllm", command[0], command[1..], variables, isRead), port);
    }

    /// <summary>On the simulated engine, which is up in a second.</summary>
    public static WorkerProcess StartSimulated(
        string store,
        IEnumerable<string>? arguments = null,
        IReadOnlyDictionary<string, string>? environment = null,
        IEnumerable<string>? launcher = null,
        bool isRead = true
    ) =>
        Start(
            store,
            [
                "--simulated-engine",
                "--model",
                Path.Combine(SimulatedPaths.SimulatedEngine, "model"),
                "--served-model-name",
                "tiny",
                "--max-model-len",
                "1024",
                .. arguments ?? [],
            ],
            environment,
            launcher,
            isRead
        );

    /// <summary>Process id of the engine's core, which runs the model.</summary>
    public int FindEngineCore() => FindEngineCore(Process.Id);

    /// <summary>That of any worker, the official one's, too.</summary>
    public static int FindEngineCore(int worker) =>
        ChildProcesses
            .Descendants(worker)
            .First(id => File.ReadAllText($"/proc/{id}/comm").StartsWith("VLLM::EngineCor", StringComparison.Ordinal));

    public async Task ReadyAsync(TimeSpan limit)
    {
        await Process.LineAsync("Ready: serving", limit);
        var joined = Process.Lines.First(line => line.Contains("discovery as instance ", StringComparison.Ordinal));
        Instance = joined[(joined.LastIndexOf(' ') + 1)..];
    }

    public async Task<int> StatusAsync(string path)
    {
        using var response = await Http.GetAsync(path);
        return (int)response.StatusCode;
    }

    /// <summary>Sum over the samples of a family whose labels hold the text.</summary>
    public async Task<double> MetricAsync(string family, string labels = "") =>
        MetricSamples.Sum(await Http.GetStringAsync("/metrics"), family, labels);

    /// <exception cref="InvalidOperationException">The worker closed its books and they do not balance: it lost a request.</exception>
    public async ValueTask DisposeAsync()
    {
        Http.Dispose();
        await Process.DisposeAsync();
        if (ClosedBooks.Lost(Process.Lines) is { } lost)
        {
            throw new InvalidOperationException($"a request was lost: {lost}\n{Process.Tail}");
        }
    }
}
