using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PeerTests;

/// <summary>
/// Two prefill and two decode workers on real vLLM with NIXL over tcp, one of each ours and one official, behind one official frontend:
/// a request that names its workers goes through any of the four pairs. The answers of an aggregated worker of ours are there to compare.
/// </summary>
public class DisaggregatedFleet : IAsyncLifetime
{
    /// <summary>How long the engines keep blocks that nobody pulls.</summary>
    /// <remarks>Short, since tests wait for its end, yet longer than any pull takes on two cores.</remarks>
    public static readonly TimeSpan Lease = TimeSpan.FromSeconds(20);

    private static readonly TimeSpan StartLimit = TimeSpan.FromMinutes(10);

    private static readonly string Transfer = new JsonObject
    {
        ["kv_connector"] = "NixlConnector",
        ["kv_role"] = "kv_both",
        ["kv_buffer_device"] = "cpu",
        ["kv_connector_extra_config"] = new JsonObject { ["kv_lease_duration"] = (int)Lease.TotalSeconds },
    }.ToJsonString();

    private TemporaryFolder? _store;
    private ChildProcess? _officialPrefill;
    private ChildProcess? _officialDecode;

    /// <summary>Two times thirty, of many lengths. Their first words differ, so that no engine has a part of one cached.</summary>
    public static IReadOnlyList<string> Prompts { get; } =
    [.. Enumerable.Range(0, 60).Select(i => string.Join(' ', [$"{i}", .. Enumerable.Range(i, 3 + (i % 30 * 2)).Select(n => $"w{n % 7}")]))];

    public Frontend Frontend { get; private set; } = null!;

    public WorkerProcess Prefill { get; private set; } = null!;

    public WorkerProcess Decode { get; private set; } = null!;

    /// <summary>Instance ids of the workers: ours and the official one of either role.</summary>
    public ulong OurPrefill => IdOf(Prefill);

    public ulong OurDecode => IdOf(Decode);

    public ulong OfficialPrefill { get; private set; }

    public ulong OfficialDecode { get; private set; }

    /// <summary>What an aggregated worker of ours answers to each prompt.</summary>
    public IReadOnlyList<string> Aggregated { get; private set; } = [];

    /// <summary>Status servers of the official workers.</summary>
    public int OfficialPrefillPort { get; } = FreePorts.Next();

    public int OfficialDecodePort { get; } = FreePorts.Next();

    public string Tails => $"{Prefill.Process.Tail}\n{Decode.Process.Tail}\n{Frontend.Process.Tail}";

    public virtual async Task InitializeAsync()
    {
        if (PeerFactAttribute.SkipReason is not null)
        {
            return; // every test of the class is skipped
        }

        _store = new TemporaryFolder();
        Frontend = Frontend.Start(Variables(_store.Path), "--router-mode", "round-robin");
        // All at once: most of a start is reading the same libraries.
        var aggregated = AggregatedAnswersAsync();
        Prefill = StartOurs("prefill");
        Decode = StartOurs("decode");
        _officialPrefill = StartOfficial("prefill", OfficialPrefillPort);
        _officialDecode = StartOfficial("decode", OfficialDecodePort);
        await Task.WhenAll(Prefill.ReadyAsync(StartLimit), Decode.ReadyAsync(StartLimit));
        await Frontend.WaitAsync(
            "the official workers did not register",
            StartLimit,
            () =>
            {
                OfficialPrefill = FindOther("prefill", OurPrefill);
                OfficialDecode = FindOther("backend", OurDecode);
                return Task.FromResult(OfficialPrefill != 0 && OfficialDecode != 0);
            }
        );
        Aggregated = await aggregated;
        await ServesAsync(OurPrefill, OurDecode);
        await ServesAsync(OfficialPrefill, OfficialDecode);
        await ServesAsync(OurPrefill, OfficialDecode);
        await ServesAsync(OfficialPrefill, OurDecode);
    }

    /// <summary>Puts a new prefill worker of ours in the place of one that is gone.</summary>
    public async Task ReplacePrefillAsync()
    {
        await Prefill.DisposeAsync();
        Prefill = StartOurs("prefill");
        await Prefill.ReadyAsync(StartLimit);
    }

    /// <summary>Puts a new decode worker of ours in the place of one that is gone.</summary>
    public async Task ReplaceDecodeAsync()
    {
        await Decode.DisposeAsync();
        Decode = StartOurs("decode");
        await Decode.ReadyAsync(StartLimit);
    }

    /// <summary>Returns when the frontend knows of them no more.</summary>
    public async Task StopOfficialAsync()
    {
        _officialPrefill!.Signal("TERM");
        _officialDecode!.Signal("TERM");
        await Frontend.WaitAsync(
            "the official workers did not leave",
            StartLimit,
            () => Task.FromResult(FindOther("prefill", OurPrefill) == 0 && FindOther("backend", OurDecode) == 0)
        );
        await _officialPrefill.DisposeAsync();
        await _officialDecode.DisposeAsync();
        (_officialPrefill, _officialDecode) = (null, null);
    }

    public async Task<string> AnswerAsync(string prompt, ulong? decode = null, ulong? prefill = null, string model = "tiny")
    {
        using var response = await PostAsync(prompt, 8, decode, prefill, model);
        return await TextAsync(response, prompt);
    }

    public virtual async Task DisposeAsync()
    {
        if (_store is null)
        {
            return;
        }

        foreach (var process in new IAsyncDisposable?[] { _officialPrefill, _officialDecode, Prefill, Decode, Frontend })
        {
            await (process?.DisposeAsync() ?? ValueTask.CompletedTask);
        }

        _store.Dispose();
    }

    private static async Task<IReadOnlyList<string>> AggregatedAnswersAsync()
    {
        using var store = new TemporaryFolder();
        var variables = Variables(store.Path);
        await using var frontend = Frontend.Start(variables, "--router-mode", "round-robin");
        await using var worker = WorkerProcess.Start(store.Path, ["--python", Peers.Python, .. Peers.EngineArguments], variables);
        await worker.ReadyAsync(StartLimit);
        await frontend.ServesAsync("tiny", StartLimit);
        var answers = new List<string>();
        foreach (var prompt in Prompts)
        {
            using var response = await frontend.PostAsync("/v1/completions", Body(prompt, 8));
            answers.Add(await TextAsync(response, prompt));
        }

        return answers;
    }

    private static async Task<string> TextAsync(HttpResponseMessage response, string prompt)
    {
        var text = await response.Content.ReadAsStringAsync();
        Assert.True(response.IsSuccessStatusCode, $"{prompt}: {text}");
        return JsonNode.Parse(text)!["choices"]![0]!["text"]!.GetValue<string>();
    }

    private Task<HttpResponseMessage> PostAsync(string prompt, int tokens, ulong? decode, ulong? prefill, string model = "tiny") =>
        Frontend.PostAsync("/v1/completions", Body(prompt, tokens, model), decode, prefill);

    private static JsonObject Body(string prompt, int tokens, string model = "tiny") =>
        new()
        {
            ["model"] = model,
            ["prompt"] = prompt,
            ["max_tokens"] = tokens,
            ["temperature"] = 0,
        };

    public Task ServesAsync(ulong prefill, ulong decode, string model = "tiny") =>
        Frontend.WaitAsync(
            "a pair does not serve",
            StartLimit,
            async () =>
            {
                using var response = await PostAsync("are you there?", 1, decode, prefill, model);
                return response.IsSuccessStatusCode;
            }
        );

    private WorkerProcess StartOurs(string mode) =>
        WorkerProcess.Start(_store!.Path, ["--python", Peers.Python, .. Arguments(mode)], OwnVariables(mode));

    private ChildProcess StartOfficial(string mode, int port)
    {
        var variables = OwnVariables(mode);
        variables["DYN_SYSTEM_PORT"] = port.ToString(CultureInfo.InvariantCulture);
        return new ChildProcess($"official {mode}", Peers.Python, ["-m", "dynamo.vllm", .. Arguments(mode)], variables);
    }

    private string[] Arguments(string mode) =>
        [.. Peers.EngineArguments, "--disaggregation-mode", mode, "--kv-transfer-config", Transfer, .. Flags];

    /// <summary>Of all four workers, beside those that make them what they are.</summary>
    protected virtual IReadOnlyList<string> Flags => [];

    protected virtual IReadOnlyDictionary<string, string> Environment => new Dictionary<string, string>();

    /// <summary>Of the workers of one role alone.</summary>
    protected virtual IReadOnlyDictionary<string, string> VariablesOf(string mode) => new Dictionary<string, string>();

    private Dictionary<string, string> OwnVariables(string mode)
    {
        var variables = new Dictionary<string, string>(Variables(_store!.Path).Concat(Environment).Concat(VariablesOf(mode)))
        {
            ["VLLM_NIXL_SIDE_CHANNEL_PORT"] = FreePorts.Next().ToString(CultureInfo.InvariantCulture),
        };
        if (!FindsItsAddress)
        {
            variables["VLLM_NIXL_SIDE_CHANNEL_HOST"] = "127.0.0.1";
        }

        return variables;
    }

    /// <summary>This machine has a way out, so workers that are not told where they are reached find it themselves.</summary>
    public static bool FindsItsAddress { get; } = HasRoute();

    private static bool HasRoute()
    {
        try
        {
            using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
            socket.Connect(IPAddress.Parse("8.8.8.8"), 80); // sends nothing
            return socket.LocalEndPoint is IPEndPoint { Address: var address } && !IPAddress.IsLoopback(address);
        }
        catch (SocketException)
        {
            return false;
        }
    }

    private static Dictionary<string, string> Variables(string store)
    {
        var variables = Peers.Variables(store);
        variables["UCX_TLS"] = "tcp,self,sm,cma";
        return variables;
    }

    /// <summary>Where a caller without a frontend finds the generate endpoint of this instance.</summary>
    public string AddressOf(ulong instance) =>
        Directory
            .GetFiles(Path.Combine(_store!.Path, "v1", "instances"))
            .Where(path => !Path.GetFileName(path).StartsWith('.'))
            .Select(path => JsonNode.Parse(File.ReadAllText(path))!)
            .Single(record => record["endpoint"]!.GetValue<string>() == "generate" && record["instance_id"]!.GetValue<ulong>() == instance)[
            "transport"
        ]!["tcp"]!.GetValue<string>();

    /// <summary>Instance of that component in the store that is not the given one; 0 if there is none.</summary>
    private ulong FindOther(string component, ulong ours)
    {
        var folder = Path.Combine(_store!.Path, "v1", "mdc");
        string[] files = Directory.Exists(folder) ? Directory.GetFiles(folder) : [];
        // Names are namespace, component, endpoint and id, parted by escaped slashes.
        return files
            .Select(path => Uri.UnescapeDataString(Path.GetFileName(path)).Split('/'))
            .Where(key => key.Length >= 4 && key[1] == component)
            .Select(key => ulong.Parse(key[3], NumberStyles.HexNumber, CultureInfo.InvariantCulture))
            .FirstOrDefault(id => id != ours);
    }

    private static ulong IdOf(WorkerProcess worker) => ulong.Parse(worker.Instance, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
}
