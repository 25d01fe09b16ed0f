using System.Globalization;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.Load;

/// <summary>Workers of one kind behind a frontend, serving a model that is named after them.</summary>
internal sealed class LoadedStack : IAsyncDisposable
{
    private static readonly TimeSpan StartLimit = TimeSpan.FromMinutes(5);

    private readonly List<IAsyncDisposable> _owned = [];
    private readonly Dictionary<string, string> _variables;
    private readonly string _store;

    private LoadedStack(string name, string store, Dictionary<string, string> variables, Frontend frontend)
    {
        Name = name;
        Frontend = frontend;
        _store = store;
        _variables = variables;
    }

    public string Name { get; }

    public Frontend Frontend { get; }

    /// <summary>Of the workers, the one that answers first.</summary>
    public List<int> Processes { get; } = [];

    public static async Task<LoadedStack> StartAsync(
        string name,
        string store,
        Dictionary<string, string> variables,
        Frontend frontend,
        LoadOptions options
    )
    {
        var stack = new LoadedStack(name, store, variables, frontend);
        if (options.IsSimulated)
        {
            stack.Own(WorkerProcess.StartSimulated(store, ["--served-model-name", name, "--max-num-seqs", "512"], variables));
        }
        else if (options.IsDisaggregated)
        {
            stack.Start("decode", options);
            stack.Start("prefill", options);
        }
        else
        {
            stack.Start(role: null, options);
        }

        await frontend.ServesAsync(name, StartLimit);
        return stack;
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var owned in _owned)
        {
            await owned.DisposeAsync();
        }
    }

    private static IEnumerable<string> TinyOnCpu =>
        [
            .. Peers.EngineArguments.Where(argument => argument is not ("--served-model-name" or "tiny")),
            "--max-num-seqs",
            "256",
            "--num-gpu-blocks-override",
            "4096",
        ];

    private void Start(string? role, LoadOptions options)
    {
        var isOnCpu = options.EngineArguments.Count == 0;
        List<string> arguments = [.. isOnCpu ? TinyOnCpu : options.EngineArguments, "--served-model-name", Name];
        var variables = new Dictionary<string, string>(_variables);
        if (role is not null)
        {
            variables["VLLM_NIXL_SIDE_CHANNEL_PORT"] = FreePorts.Next().ToString(CultureInfo.InvariantCulture);
            variables["VLLM_NIXL_SIDE_CHANNEL_HOST"] = "127.0.0.1";
            var transfer = new JsonObject { ["kv_connector"] = "NixlConnector", ["kv_role"] = "kv_both" };
            if (isOnCpu)
            {
                variables["UCX_TLS"] = "tcp,self,sm,cma";
                transfer["kv_buffer_device"] = "cpu";
            }

            arguments.AddRange(["--disaggregation-mode", role, "--kv-transfer-config", transfer.ToJsonString()]);
        }

        if (Name == "ours")
        {
            Own(WorkerProcess.Start(_store, ["--python", Peers.Python, .. arguments], variables));
            return;
        }

        variables["DYN_SYSTEM_PORT"] = FreePorts.Next().ToString(CultureInfo.InvariantCulture);
        var process = new ChildProcess($"{Name} {role}", Peers.Python, ["-m", "dynamo.vllm", .. arguments], variables);
        _owned.Add(process);
        Processes.Add(process.Id);
    }

    private void Own(WorkerProcess worker)
    {
        _owned.Add(worker);
        Processes.Add(worker.Process.Id);
    }
}
