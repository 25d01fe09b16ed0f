using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Core.Metrics;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Discovery;
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
    private readonly RuntimeMetrics _metrics;

    private PlaneWorker(WorkerRegistration registration, IRequestPlane plane, RuntimeMetrics metrics)
    {
        _registration = registration;
        _plane = plane;
        _metrics = metrics;
    }

    public InstanceId Instance => _registration.Instance;

    public static async Task<PlaneWorker> StartAsync(
        IDiscovery discovery,
        Func<RequestDispatcher, IRequestPlane> createPlane,
        IConnectionSecurity security,
        LogCapture log
    )
    {
        var worker = Create(
            discovery,
            createPlane,
            new TcpCallHomeDialer(security, TimeProvider.System, log.For<TcpCallHomeDialer>()),
            log
        );
        await worker.JoinAsync(Generate, Card(), worker);
        return worker;
    }

    /// <summary>Planes for a double that brings its own endpoint, card and handler to <see cref="JoinAsync"/>.</summary>
    public static PlaneWorker Create(
        IDiscovery discovery,
        Func<RequestDispatcher, IRequestPlane> createPlane,
        ICallHomeDialer dialer,
        LogCapture log
    )
    {
        var metrics = new RuntimeMetrics(Prometheus.Metrics.NewCustomRegistry(), "1");
        var dispatcher = new RequestDispatcher(
            dialer,
            new AdmissionLimits(),
            metrics.Dispatcher,
            TimeProvider.System,
            log.For<RequestDispatcher>()
        );
        var plane = createPlane(dispatcher);
        return new PlaneWorker(
            new WorkerRegistration(discovery, plane, "cpu", PayloadCodec.MessagePack, TimeProvider.System, log.For<WorkerRegistration>()),
            plane,
            metrics
        );
    }

    public async Task JoinAsync(EndpointId endpoint, JsonObject card, IEndpointHandler handler)
    {
        await _plane.StartAsync(default);
        await _registration.JoinAsync(default);
        await _registration.PutAsync("card", instance => DiscoveryRecord.Model(endpoint, instance, card.DeepClone().AsObject()), default);
        await _registration.ServeAsync(new ServedEndpoint(endpoint, handler, _metrics.ForEndpoint(endpoint, "tiny")), default);
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
            node["checksum"] = "blake3:" + Blake3.Hasher.Hash(content);
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
