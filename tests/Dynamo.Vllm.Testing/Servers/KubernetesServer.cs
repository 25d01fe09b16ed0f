using System.Diagnostics;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json.Nodes;

namespace Dynamo.Vllm.Testing.Servers;

/// <summary>A real API server over a real etcd, by <c>shared/peers/kube-up</c> (or the script that DYNAMO_KUBE_UP names).</summary>
public sealed class KubernetesServer : IAsyncDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly string _script = FindScript();
    private readonly HttpClient _http;

    private KubernetesServer()
    {
        // The certificate is made by the server at its start, for this test alone.
        var handler = new HttpClientHandler
        {
            ServerCertificateCustomValidationCallback = (_, _, _, _) => true,
            CheckCertificateRevocationList = true,
        };
        _http = new HttpClient(handler);
    }

    public static async Task<KubernetesServer> StartAsync()
    {
        var server = new KubernetesServer();
        try
        {
            await server.RunAsync("start");
            var variables = await File.ReadAllTextAsync(Path.Combine(server._folder.Path, "env.sh"));
            server._http.BaseAddress = new Uri(Value(variables, "KUBE_API"));
            server._http.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", Value(variables, "KUBE_TOKEN"));
            return server;
        }
        catch
        {
            await server.DisposeAsync();
            throw;
        }
    }

    public int ApiServerProcessId =>
        int.Parse(File.ReadAllText(Path.Combine(_folder.Path, "apiserver.pid")), System.Globalization.CultureInfo.InvariantCulture);

    /// <summary>Makes a pod, or changes whether it is ready; its uid.</summary>
    public async Task<string> CreatePodAsync(string name, bool isReady = true) =>
        (await RunAsync("pod", name, isReady ? "ready" : "notready")).Trim();

    /// <summary>A configuration file of a user who may do what a worker needs.</summary>
    /// <param name="isBound">False: whoever was given no rights keeps none.</param>
    public async Task<string> CreateWorkerConfigurationAsync(bool isBound = true) =>
        isBound ? (await RunAsync("role", "worker")).Trim() : Path.Combine(_folder.Path, "worker.kubeconfig");

    /// <summary>Takes that user's rights away.</summary>
    public Task RevokeWorkerRoleAsync() => CallAsync(HttpMethod.Delete, "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/worker");

    /// <summary>The resource of a worker; null if there is none.</summary>
    public Task<JsonObject?> ReadResourceAsync(string name) =>
        CallAsync(HttpMethod.Get, $"/apis/nvidia.com/v1alpha1/namespaces/default/dynamoworkermetadatas/{name}");

    public async Task<JsonObject?> CallAsync(HttpMethod method, string path, JsonObject? body = null)
    {
        using var request = new HttpRequestMessage(method, new Uri(path, UriKind.Relative));
        request.Content = body is null ? null : new StringContent(body.ToJsonString(), Encoding.UTF8, "application/json");
        using var answer = await _http.SendAsync(request);
        return answer.IsSuccessStatusCode ? JsonNode.Parse(await answer.Content.ReadAsStringAsync())!.AsObject() : null;
    }

    public async ValueTask DisposeAsync()
    {
        int[] servers =
        [
            .. Directory
                .GetFiles(_folder.Path, "*.pid")
                .Select(path => int.Parse(File.ReadAllText(path), System.Globalization.CultureInfo.InvariantCulture)),
        ];
        await RunAsync("stop");
        await Task.WhenAll(servers.Select(WaitForEndAsync)); // else the folder is written to again while it is removed
        _http.Dispose();
        _folder.Dispose();
    }

    private static async Task WaitForEndAsync(int id)
    {
        try
        {
            using var process = Process.GetProcessById(id);
            using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(10));
            try
            {
                await process.WaitForExitAsync(limit.Token);
            }
            catch (OperationCanceledException)
            {
                process.Kill(); // the API server would take a minute to end its watches
                await process.WaitForExitAsync(CancellationToken.None);
            }
        }
        catch (ArgumentException)
        {
            // Gone already.
        }
    }

    private static string Value(string variables, string name)
    {
        var start = variables.IndexOf(name + "='", StringComparison.Ordinal) + name.Length + 2;
        return variables[start..variables.IndexOf('\'', start)];
    }

    private static string FindScript()
    {
        var script =
            Environment.GetEnvironmentVariable("DYNAMO_KUBE_UP")
            ?? Path.GetFullPath(Path.Combine(SimulatedPaths.Root, "..", "shared", "peers", "kube-up"));
        return File.Exists(script)
            ? script
            : throw new InvalidOperationException($"this test needs the script kube-up, which is not at {script}; set DYNAMO_KUBE_UP");
    }

    private async Task<string> RunAsync(params string[] arguments)
    {
        // The servers that `start` leaves behind inherit its pipes, so output goes to a file and not to us.
        var output = Path.Combine(_folder.Path, $"{Guid.NewGuid():N}.out");
        var start = new ProcessStartInfo("bash");
        start.ArgumentList.Add("-c");
        start.ArgumentList.Add("out=$1; script=$2; shift 2; exec \"$script\" \"$@\" > \"$out\" 2>&1");
        start.ArgumentList.Add("kube-up");
        start.ArgumentList.Add(output);
        start.ArgumentList.Add(_script);
        start.ArgumentList.Add(arguments[0]);
        start.ArgumentList.Add(_folder.Path);
        foreach (var argument in arguments.Skip(1))
        {
            start.ArgumentList.Add(argument);
        }

        using var process = Process.Start(start)!;
        await process.WaitForExitAsync().WaitAsync(TimeSpan.FromSeconds(90));
        var text = await File.ReadAllTextAsync(output);
        return process.ExitCode == 0 ? text : throw new InvalidOperationException($"kube-up {arguments[0]} failed: {text}");
    }
}
