using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Servers;
using Dynamo.Vllm.Transports.Client;

namespace Dynamo.Vllm.Soak;

/// <summary>The worker under test with the servers that its planes need.</summary>
internal sealed class SoakTarget : IAsyncDisposable
{
    private static readonly TimeSpan StartLimit = TimeSpan.FromMinutes(1);

    private readonly TemporaryFolder _store = new();
    private string? _lastAddress;

    private SoakTarget(SoakOptions options) => Options = options;

    public SoakOptions Options { get; }

    public EtcdServer? Etcd { get; private set; }

    public NatsServer? Nats { get; private set; }

    public WorkerProcess Worker { get; private set; } = null!;

    private string Transport => Options.Requests == "nats" ? "nats_tcp" : "tcp";

    public static async Task<SoakTarget> StartAsync(SoakOptions options)
    {
        var target = new SoakTarget(options);
        try
        {
            target.Etcd = options.Discovery == "etcd" ? await EtcdServer.StartAsync() : null;
            target.Nats = options.Requests == "nats" ? await NatsServer.StartAsync() : null;
            var variables = new Dictionary<string, string>
            {
                ["DYN_DISCOVERY_BACKEND"] = options.Discovery,
                ["DYN_REQUEST_PLANE"] = options.Requests,
                ["DYN_EVENT_PLANE"] = "zmq",
                ["ETCD_ENDPOINTS"] = target.Etcd?.Url ?? "",
            };
            if (target.Nats is { } nats)
            {
                variables["NATS_SERVER"] = nats.Url;
            }

            target.Worker = WorkerProcess.StartSimulated(
                target._store.Path,
                ["--simulated-step-time-ms", "20", "--max-num-seqs", "256"],
                variables
            );
            await target.Worker.ReadyAsync(StartLimit);
            return target;
        }
        catch
        {
            await target.DisposeAsync();
            throw;
        }
    }

    /// <summary>Addresses in the records of the worker's <c>generate</c> endpoint.</summary>
    public async Task<IReadOnlyList<string>> FindAsync()
    {
        if (Etcd is null)
        {
            return FileDirectoryReader.Find(_store.Path, "generate", Transport);
        }

        var records = await Etcd.ReadAsync("v1/instances/");
        return
        [
            .. records
                .Values.Select(value => JsonNode.Parse(value)!)
                .Where(record => record["endpoint"]!.GetValue<string>() == "generate")
                .Select(record => record["transport"]![Transport]!.GetValue<string>()),
        ];
    }

    /// <summary>Where to send a request: as discovery says, or what it said last while it is away. As routers do.</summary>
    public async Task<string?> AddressAsync()
    {
        try
        {
            _lastAddress = await FindAsync() is [var address, ..] ? address : _lastAddress;
        }
        catch (Exception exception) when (exception is HttpRequestException or InvalidOperationException or OperationCanceledException)
        {
            // etcd is away.
        }

        return _lastAddress;
    }

    /// <summary>Removes the record, as somebody who cleans the store would.</summary>
    public void RemoveRecord()
    {
        var folder = Path.Combine(_store.Path, "v1", "instances");
        foreach (
            var path in Directory
                .EnumerateFiles(folder)
                .Where(path => Path.GetFileName(path).Contains("generate", StringComparison.Ordinal))
        )
        {
            File.Delete(path);
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (Worker is not null)
        {
            await Worker.DisposeAsync();
        }

        if (Etcd is not null)
        {
            await Etcd.DisposeAsync();
        }

        if (Nats is not null)
        {
            await Nats.DisposeAsync();
        }

        _store.Dispose();
    }
}
