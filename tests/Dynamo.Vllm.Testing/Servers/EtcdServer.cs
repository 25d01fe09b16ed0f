using System.Text;
using System.Text.Json.Nodes;

namespace Dynamo.Vllm.Testing.Servers;

/// <summary>One real etcd, with the operator's view of it through its JSON gateway.</summary>
public sealed class EtcdServer : IAsyncDisposable
{
    private readonly HttpClient _http;
    private readonly TemporaryFolder _folder = new();
    private readonly string _name;
    private readonly string _peer;
    private readonly string _cluster;
    private readonly IReadOnlyList<string> _more;
    private ServerProcess? _process;

    private EtcdServer(string name, int port, string peer, string cluster, IReadOnlyList<string> more, bool secure)
    {
        _name = name;
        _peer = peer;
        _cluster = cluster;
        _more = more;
        Url = $"{(secure ? "https" : "http")}://127.0.0.1:{port}";
        _http = new HttpClient { BaseAddress = new Uri(Url), Timeout = TimeSpan.FromSeconds(5) };
    }

    public string Url { get; }

    public ServerProcess Process => _process ?? throw new InvalidOperationException("not started");

    public static async Task<EtcdServer> StartAsync(bool secure = false, params string[] more)
    {
        var peer = FreeUrl();
        var server = new EtcdServer("one", FreePorts.Next(), peer, $"one={peer}", more, secure);
        await server.StartAgainAsync();
        return server;
    }

    /// <summary>Three members that elect a leader.</summary>
    public static async Task<IReadOnlyList<EtcdServer>> StartClusterAsync()
    {
        var peers = new[] { "one", "two", "three" }.Select(name => (Name: name, Peer: FreeUrl())).ToArray();
        var cluster = string.Join(',', peers.Select(peer => $"{peer.Name}={peer.Peer}"));
        var members = peers.Select(peer => new EtcdServer(peer.Name, FreePorts.Next(), peer.Peer, cluster, [], secure: false)).ToArray();
        await Task.WhenAll(members.Select(member => member.StartAgainAsync()));
        return members;
    }

    /// <summary>Starts the server with the data and the port that it had.</summary>
    public async Task StartAgainAsync()
    {
        _process = await ServerProcess.StartAsync(
            ServerPrograms.Find(ServerPrograms.Etcd) ?? ServerPrograms.Etcd,
            [
                "--name",
                _name,
                "--data-dir",
                Path.Combine(_folder.Path, "data"),
                "--listen-client-urls",
                Url,
                "--advertise-client-urls",
                Url,
                "--listen-peer-urls",
                _peer,
                "--initial-advertise-peer-urls",
                _peer,
                "--initial-cluster",
                _cluster,
                "--heartbeat-interval",
                "50",
                "--election-timeout",
                "500",
                "--grpc-keepalive-min-time",
                "500ms",
                "--logger",
                "zap",
                "--log-outputs",
                "stderr",
                .. _more,
            ],
            "serving",
            "apt-get install etcd-server"
        );
    }

    /// <summary>Starts the server on the port that it had, and without its data: what was lost with its disk.</summary>
    public Task StartEmptyAsync()
    {
        Directory.Delete(Path.Combine(_folder.Path, "data"), recursive: true);
        return StartAgainAsync();
    }

    /// <summary>Keys and values under a prefix.</summary>
    public async Task<SortedDictionary<string, string>> ReadAsync(string prefix = "v1/")
    {
        var end = Encoding.UTF8.GetBytes(prefix);
        end[^1]++;
        var answer = await CallAsync("kv/range", new JsonObject { ["key"] = Base64(prefix), ["range_end"] = Convert.ToBase64String(end) });
        var found = new SortedDictionary<string, string>(StringComparer.Ordinal);
        foreach (var pair in answer["kvs"]?.AsArray() ?? [])
        {
            found[Text(pair!["key"])] = Text(pair["value"]);
        }

        return found;
    }

    /// <summary>The lease that a key hangs on.</summary>
    public async Task<ulong> LeaseOfAsync(string key)
    {
        var answer = await CallAsync("kv/range", new JsonObject { ["key"] = Base64(key) });
        return ulong.Parse(answer["kvs"]![0]!["lease"]!.GetValue<string>(), System.Globalization.CultureInfo.InvariantCulture);
    }

    public Task RevokeAsync(ulong lease) =>
        CallAsync("lease/revoke", new JsonObject { ["ID"] = lease.ToString(System.Globalization.CultureInfo.InvariantCulture) });

    /// <summary>Turns authentication on with one user, who may do everything.</summary>
    public async Task RequireLoginAsync(string password)
    {
        await CallAsync("auth/user/add", new JsonObject { ["name"] = "root", ["password"] = password });
        await CallAsync("auth/role/add", new JsonObject { ["name"] = "root" });
        await CallAsync("auth/user/grant", new JsonObject { ["user"] = "root", ["role"] = "root" });
        await CallAsync("auth/enable", []);
    }

    /// <summary>As whom later calls are made.</summary>
    public async Task LoginAsync(string user, string password)
    {
        _http.DefaultRequestHeaders.Remove("Authorization");
        var answer = await CallAsync("auth/authenticate", new JsonObject { ["name"] = user, ["password"] = password });
        _http.DefaultRequestHeaders.TryAddWithoutValidation("Authorization", answer["token"]!.GetValue<string>());
    }

    public async ValueTask DisposeAsync()
    {
        if (_process is not null)
        {
            await _process.DisposeAsync();
        }

        _http.Dispose();
        _folder.Dispose();
    }

    public async Task<JsonObject> CallAsync(string method, JsonObject body)
    {
        using var content = new StringContent(body.ToJsonString(), Encoding.UTF8, "application/json");
        using var answer = await _http.PostAsync(new Uri($"/v3/{method}", UriKind.Relative), content);
        var text = await answer.Content.ReadAsStringAsync();
        return answer.IsSuccessStatusCode
            ? JsonNode.Parse(text)!.AsObject()
            : throw new InvalidOperationException($"etcd {method}: {text}");
    }

    private static string FreeUrl() => $"http://127.0.0.1:{FreePorts.Next()}";

    private static string Base64(string text) => Convert.ToBase64String(Encoding.UTF8.GetBytes(text));

    private static string Text(JsonNode? base64) => Encoding.UTF8.GetString(Convert.FromBase64String(base64!.GetValue<string>()));
}
