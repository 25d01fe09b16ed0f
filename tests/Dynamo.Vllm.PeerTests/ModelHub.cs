using System.Globalization;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PeerTests;

/// <summary>A hub of the tests (python/tests/hub.py) with one model, <c>tests/tiny</c>.</summary>
internal sealed class ModelHub : IAsyncDisposable
{
    public const string Model = "tests/tiny";

    private static readonly TimeSpan StartLimit = TimeSpan.FromSeconds(30);

    private readonly ChildProcess _process;

    private ModelHub(ChildProcess process, string address)
    {
        _process = process;
        Address = address;
    }

    public string Address { get; }

    /// <summary>One line each: method, path, range, and who asked.</summary>
    public IEnumerable<string> Requests => _process.Lines.Skip(1);

    /// <param name="folder">The model.</param>
    /// <param name="arguments">How it fails.</param>
    public static async Task<ModelHub> StartAsync(string folder, params string[] arguments)
    {
        var script = Path.Combine(SimulatedPaths.Root, "python", "tests", "hub.py");
        var process = new ChildProcess(
            "hub",
            Peers.Python,
            ["-u", script, "--repo", $"{Model}={folder}", .. arguments],
            new Dictionary<string, string>()
        );
        await Polling.UntilAsync("the hub names no port", StartLimit, () => Task.FromResult(process.Lines.Count > 0), () => process.Tail);
        var port = int.Parse(process.Lines[0], CultureInfo.InvariantCulture);
        return new ModelHub(process, $"http://127.0.0.1:{port}");
    }

    /// <summary>Of a worker that fetches from here into this cache.</summary>
    public Dictionary<string, string> Variables(string store, string cache) =>
        new(Peers.Variables(store))
        {
            ["HF_HUB_OFFLINE"] = "0",
            ["TRANSFORMERS_OFFLINE"] = "0",
            ["HF_ENDPOINT"] = Address,
            ["HF_HOME"] = cache,
        };

    /// <summary>How often the content of this file was asked for.</summary>
    public int CountOf(string file) =>
        Requests.Count(line =>
            line.StartsWith("GET ", StringComparison.Ordinal) && line.Split(' ')[1].EndsWith("/" + file, StringComparison.Ordinal)
        );

    /// <summary>Nobody answers at its address any more.</summary>
    public async Task StopAsync()
    {
        _process.Signal("KILL");
        await _process.ExitCodeAsync(StartLimit);
    }

    public ValueTask DisposeAsync() => _process.DisposeAsync();
}
