using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Core.Metrics;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Protocol.Hashing;
using Dynamo.Vllm.Testing.Logs;
using Dynamo.Vllm.Testing.Servers;
using Dynamo.Vllm.Transports.Tcp;

namespace Dynamo.Vllm.PeerTests;
using Dynamo.Vllm.Testing;

/// <summary>The planes of a worker without an engine: every request is answered with two tokens.</summary>
internal sealed class PlaneWorker : IEndpointHandler, IAsyncDisposable
{
    private static readonly EndpointId Generate = new("planes", "backend", "generate");

    private readonly WorkerRegistration _registration;
    private readonly IRequestPlane _plane;

    private PlaneWorker(WorkerRegistration registration, IRequestPlane plane)
    {
        _registration = registration;
        _plane = plane;
    }

    public InstanceId Instance => _registration.Instance;

    public static async Task<PlaneWorker> StartAsync(
        IDiscovery discovery, Func<RequestDispatcher, IRequestPlane> createPlane, IConnectionSecurity security, LogCapture log)
    {
        var metrics = new RuntimeMetrics(Prometheus.Metrics.NewCustomRegistry(), "1");
        var dispatcher = new RequestDispatcher(
            new TcpCallHomeDialer(security, TimeProvider.System), new AdmissionLimits(), metrics.Dispatcher, TimeProvider.System, log.For<RequestDispatcher>());
        var plane = createPlane(dispatcher);
        var registration = new WorkerRegistration(discovery, plane, "cpu", PayloadCodec.MessagePack, log.For<WorkerRegistration>());
        var worker = new PlaneWorker(registration, plane);
        await plane.StartAsync(default);
        await registration.JoinAsync(default);
        await registration.PutAsync("card", instance => DiscoveryRecord.Model(Generate, instance, Card()), default);
        await registration.ServeAsync(new ServedEndpoint(Generate, worker, metrics.ForEndpoint(Generate, "tiny")), default);
        return worker;
    }

    public async Task HandleAsync(RequestContext context, IResponseWriter responses)
    {
        await responses.WriteAsync("{\"token_ids\":[300]}"u8.ToArray());
        await responses.WriteAsync("{\"token_ids\":[301],\"finish_reason\":\"stop\"}"u8.ToArray());
    }

    public async ValueTask DisposeAsync()
    {
        await _registration.WithdrawAllAsync(default);
        await _registration.CloseIntakeAsync();
        await _registration.LeaveAsync(default);
        await _registration.DisposeAsync();
        await _plane.DisposeAsync();
    }

    /// <summary>The captured card, with the files of the model that lies here.</summary>
    private static JsonObject Card()
    {
        var lines = File.ReadAllLines(Path.Combine(AppContext.BaseDirectory, "golden", "runtime", "etcd_dump_tcp.txt"));
        var line = lines[Array.FindIndex(lines, key => key.StartsWith("v1/mdc/", StringComparison.Ordinal)) + 1];
        var card = JsonNode.Parse(line)!["card_json"]!.DeepClone().AsObject();
        Localise(card);
        return card;
    }

    private static void Localise(JsonObject node)
    {
        if (node["path"] is JsonValue path && node.ContainsKey("checksum"))
        {
            var local = Path.Combine(Peers.TinyModel, Path.GetFileName(path.GetValue<string>()));
            var content = File.ReadAllBytes(local);
            node["path"] = local;
            node["checksum"] = "blake3:" + Blake3.HashHex(content);
            node["size"] = content.Length;
        }

        foreach (var (name, value) in node.ToArray())
        {
            if (value is JsonObject inner)
            {
                Localise(inner);
            }
            else if (name == "source_path")
            {
                node[name] = Peers.TinyModel;
            }
        }
    }
}
