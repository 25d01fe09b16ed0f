using System.Globalization;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Servers;

namespace Dynamo.Vllm.Reliability;

/// <summary>Workers of ours on the simulated engine, the official frontend with migration, and the real nats-server and etcd.</summary>
internal sealed class ChaosFleet : IAsyncDisposable
{
    private static readonly TimeSpan ServingLimit = TimeSpan.FromMinutes(2);

    private readonly List<TestedWorker> _workers = [];
    private readonly List<string> _lost = [];
    private readonly SortedDictionary<string, long> _accepted = [];
    private readonly Dictionary<string, string> _variables;

    private ChaosFleet(NatsServer nats, EtcdServer etcd)
    {
        Nats = nats;
        Etcd = etcd;
        _variables = Peers.Variables("");
        _variables["DYN_DISCOVERY_BACKEND"] = "etcd";
        _variables["ETCD_ENDPOINTS"] = etcd.Url;
        _variables["DYN_REQUEST_PLANE"] = "nats";
        _variables["NATS_SERVER"] = nats.Url;
        Frontend = Frontend.Start(_variables, "--router-mode", "round-robin", "--migration-limit", "3");
    }

    public NatsServer Nats { get; }

    public EtcdServer Etcd { get; }

    public Frontend Frontend { get; }

    public IReadOnlyList<TestedWorker> Workers => _workers;

    /// <summary>Books of workers that lost a request. Complete once the fleet is gone.</summary>
    public IReadOnlyList<string> Lost => _lost;

    /// <summary>Requests that workers of each role accepted, those that were killed left out. Complete once the fleet is gone.</summary>
    public IReadOnlyDictionary<string, long> Accepted => _accepted;

    /// <summary>The frontend did not live to the end, which no worker can help.</summary>
    public bool FrontendEnded { get; private set; }

    /// <param name="workers">How many of each role.</param>
    /// <param name="roles">As <see cref="TestedWorker.Role"/>.</param>
    public static async Task<ChaosFleet> StartAsync(int workers, IReadOnlyList<string?> roles)
    {
        var fleet = new ChaosFleet(await NatsServer.StartAsync(), await EtcdServer.StartAsync());
        try
        {
            await Task.WhenAll(roles.SelectMany(role => Enumerable.Range(0, workers).Select(_ => fleet.AddAsync(role))));
            await fleet.Frontend.ServesAsync("tiny", ServingLimit);
            return fleet;
        }
        catch
        {
            await fleet.DisposeAsync();
            throw;
        }
    }

    /// <summary>A new worker for one that is about to end, or has.</summary>
    public async Task ReplaceAsync(TestedWorker former)
    {
        await former.Process.ExitCodeAsync(TimeSpan.FromMinutes(3));
        _workers.Remove(former);
        Balance(former);
        await former.DisposeAsync();
        await AddAsync(former.Role);
    }

    /// <summary>Every worker is ready, and the frontend answers.</summary>
    public async Task WholeAsync()
    {
        foreach (var worker in _workers.ToArray())
        {
            await Polling.UntilAsync(
                "a worker is not ready again",
                ServingLimit,
                async () => await worker.IsReadyAsync() == true,
                () => worker.Process.Tail
            );
        }

        await Frontend.ServesAsync("tiny", ServingLimit);
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var worker in _workers)
        {
            worker.Process.Signal("TERM");
        }

        foreach (var worker in _workers)
        {
            await worker.Process.ExitCodeAsync(TimeSpan.FromMinutes(2));
            Balance(worker);
            await worker.DisposeAsync();
        }

        _workers.Clear();
        FrontendEnded = Frontend.Process.HasExited;
        await Frontend.DisposeAsync();
        await Nats.DisposeAsync();
        await Etcd.DisposeAsync();
    }

    private async Task AddAsync(string? role)
    {
        var variables = new Dictionary<string, string>(_variables)
        {
            ["VLLM_NIXL_SIDE_CHANNEL_HOST"] = "127.0.0.1",
            ["VLLM_NIXL_SIDE_CHANNEL_PORT"] = FreePorts.Next().ToString(CultureInfo.InvariantCulture),
        };
        var worker = await TestedWorker.StartAsync(Stack.OursSimulated, variables, role);
        lock (_workers)
        {
            _workers.Add(worker);
        }
    }

    /// <summary>A worker that was not killed says at its end what became of every request.</summary>
    private void Balance(TestedWorker worker)
    {
        var role = worker.Role ?? "aggregated";
        _accepted[role] = _accepted.GetValueOrDefault(role) + ClosedBooks.Accepted(worker.Process.Lines, "generate");
        if (ClosedBooks.Lost(worker.Process.Lines) is { } lost)
        {
            _lost.Add(lost);
        }
    }
}
