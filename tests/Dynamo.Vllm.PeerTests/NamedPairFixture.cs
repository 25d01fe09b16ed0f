using System.Globalization;
using System.Net;
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PeerTests;

/// <summary>A worker of ours and an official one on real vLLM, under two names behind one official frontend.</summary>
public abstract class NamedPairFixture : IAsyncLifetime
{
    public const string OurName = "ours";

    public const string OfficialName = "official";

    private static readonly TimeSpan StartLimit = TimeSpan.FromMinutes(5);

    private readonly string _path;
    private readonly JsonObject _probe;
    private readonly string[] _flags;
    private TemporaryFolder? _store;

    /// <param name="path">Of the HTTP API, where both workers serve.</param>
    /// <param name="probe">A request that a worker which serves answers, without the model's name.</param>
    /// <param name="flags">Of both workers.</param>
    protected NamedPairFixture(string path, JsonObject probe, IEnumerable<string> flags)
    {
        _path = path;
        _probe = probe;
        _flags = [.. flags];
    }

    /// <summary>Folder of the discovery store.</summary>
    public string Store => _store!.Path;

    public Frontend Frontend { get; private set; } = null!;

    public WorkerProcess Ours { get; private set; } = null!;

    public HttpClient OfficialHttp { get; private set; } = null!;

    /// <summary>Card of each worker, by its name.</summary>
    public IReadOnlyDictionary<string, JsonObject> Cards { get; private set; } = null!;

    /// <summary>Where a caller without a frontend finds each worker, by its name.</summary>
    public IReadOnlyDictionary<string, string> Addresses { get; private set; } = null!;

    /// <summary>Folders of the store that hold something, and how much.</summary>
    public IReadOnlyDictionary<string, int> Records { get; private set; } = null!;

    public ChildProcess Official { get; private set; } = null!;

    public async Task InitializeAsync()
    {
        if (Peers.Folder is null && System.Environment.GetEnvironmentVariable("CI") != "true")
        {
            return; // every test of the class is skipped
        }

        _store = new TemporaryFolder();
        var variables = Peers.Variables(_store.Path);
        foreach (var (variable, value) in Environment)
        {
            variables[variable] = value;
        }

        Frontend = Frontend.Start(variables);
        var model = await ModelAsync(_store.Path);
        Ours = WorkerProcess.Start(_store.Path, ["--python", Peers.Python, .. Arguments(OurName), .. model], With(variables, OurName));
        if (!StartsTogether)
        {
            await Ours.ReadyAsync(StartLimit);
        }

        var port = FreePorts.Next().ToString(CultureInfo.InvariantCulture);
        Official = new ChildProcess(
            "official",
            Peers.Python,
            ["-m", "dynamo.vllm", .. Arguments(OfficialName), .. model],
            new Dictionary<string, string>(With(variables, OfficialName)) { ["DYN_SYSTEM_PORT"] = port }
        );
        OfficialHttp = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{port}") };
        await Ours.ReadyAsync(StartLimit);
        foreach (var name in (string[])[OurName, OfficialName])
        {
            await Frontend.WaitAsync(
                $"'{name}' is not served: {Official.Tail}",
                StartLimit,
                async () =>
                {
                    // A frontend that knows no model yet answers with an empty body.
                    using var response = await PostAsync(_path, name, _probe);
                    return response.StatusCode == HttpStatusCode.OK;
                }
            );
        }

        ReadStore(_store.Path);
    }

    public virtual async Task DisposeAsync()
    {
        if (_store is null)
        {
            return;
        }

        OfficialHttp.Dispose();
        await Official.DisposeAsync();
        await Ours.DisposeAsync();
        await Frontend.DisposeAsync();
        _store.Dispose();
    }

    /// <summary>What a client gets.</summary>
    public async Task<(HttpStatusCode Status, JsonNode Body)> AskAsync(
        string path,
        string name,
        JsonObject body,
        CancellationToken cancellationToken = default
    )
    {
        using var response = await PostAsync(path, name, body, cancellationToken);
        return (response.StatusCode, (await response.Content.ReadFromJsonAsync<JsonNode>(cancellationToken))!);
    }

    public Task<HttpResponseMessage> PostAsync(string path, string name, JsonObject body, CancellationToken cancellationToken = default)
    {
        var named = body.DeepClone().AsObject();
        named["model"] = name;
        return Frontend.PostAsync(path, named, cancellationToken: cancellationToken);
    }

    /// <summary>The card of a worker without the name that tells it from the other.</summary>
    public JsonObject CardWithoutName(string name)
    {
        var text = Cards[name].ToJsonString();
        return JsonNode
            .Parse(
                text.Replace($"/{name}/", "/same/", StringComparison.Ordinal).Replace($"\"{name}\"", "\"same\"", StringComparison.Ordinal)
            )!
            .AsObject();
    }

    /// <summary>Flags that name another model than the tiny one, after it has been made.</summary>
    /// <param name="folder">Of the fixture.</param>
    protected virtual Task<IReadOnlyList<string>> ModelAsync(string folder) => Task.FromResult<IReadOnlyList<string>>([]);

    /// <summary>
    /// Otherwise one after the other, since each start imports torch three times and a machine of CI has two cores.
    /// </summary>
    protected virtual bool StartsTogether => false;

    /// <summary>As which ours is in discovery.</summary>
    protected internal virtual int OurInstances => 1;

    /// <summary>Beside the variables that all peers get.</summary>
    protected virtual IReadOnlyDictionary<string, string> Environment { get; } = new Dictionary<string, string>();

    /// <summary>Flags of one worker alone, behind those of both.</summary>
    protected virtual IEnumerable<string> FlagsOf(string name) => [];

    /// <summary>Variables of one worker alone, over those of both.</summary>
    protected virtual IReadOnlyDictionary<string, string> VariablesOf(string name) => new Dictionary<string, string>();

    private Dictionary<string, string> With(Dictionary<string, string> variables, string name)
    {
        var all = new Dictionary<string, string>(variables);
        foreach (var (key, value) in VariablesOf(name))
        {
            all[key] = value;
        }

        return all;
    }

    private void ReadStore(string store)
    {
        var files = Directory
            .GetFiles(Path.Combine(store, "v1"), "*", SearchOption.AllDirectories)
            .Where(path => !Path.GetFileName(path).StartsWith('.'))
            .ToLookup(path => Path.GetFileName(Path.GetDirectoryName(path)!));
        Records = files.ToDictionary(group => group.Key, group => group.Count());
        // A fixture may have further workers, under other names.
        var cards = files["mdc"]
            .Select(Read)
            .Where(record => NameOf(Card(record)) is OurName or OfficialName)
            .ToDictionary(record => record["instance_id"]!.GetValue<ulong>(), Card);
        Cards = cards.Values.DistinctBy(NameOf).ToDictionary(NameOf);
        Assert.Equal(OurInstances, cards.Values.Count(card => NameOf(card) == OurName));
        Assert.Equal(2, cards.Values.Select(CanonicalJson.Write).Distinct().Count()); // of several instances all are equal
        Addresses = files["instances"]
            .Select(Read)
            .Where(record => record["endpoint"]!.GetValue<string>() == "generate")
            .Where(record => cards.ContainsKey(record["instance_id"]!.GetValue<ulong>()))
            .Select(record => (Name: NameOf(cards[record["instance_id"]!.GetValue<ulong>()]), Address: record["transport"]!["tcp"]!))
            .DistinctBy(instance => instance.Name)
            .ToDictionary(instance => instance.Name, instance => instance.Address.GetValue<string>());

        static string NameOf(JsonObject card) => card["display_name"]!.GetValue<string>();
        static JsonObject Read(string path) => JsonNode.Parse(File.ReadAllText(path))!.AsObject();
        static JsonObject Card(JsonObject record) => record["card_json"]!.AsObject();
    }

    private IEnumerable<string> Arguments(string name) =>
        [.. Peers.EngineArguments, "--served-model-name", name, .. _flags, .. FlagsOf(name)];
}
