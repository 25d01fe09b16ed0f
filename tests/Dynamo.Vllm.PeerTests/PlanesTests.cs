using System.Net;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Logs;
using Dynamo.Vllm.Testing.Network;
using Dynamo.Vllm.Testing.Servers;
using Dynamo.Vllm.Transports.Discovery;
using Dynamo.Vllm.Transports.Etcd;
using Dynamo.Vllm.Transports.Kubernetes;
using Dynamo.Vllm.Transports.Nats;
using Dynamo.Vllm.Transports.Tcp;

namespace Dynamo.Vllm.PeerTests;

/// <summary>The official frontend finds a worker on each plane and gets its answers.</summary>
public sealed class PlanesTests
{
    private static readonly TimeSpan Soon = TimeSpan.FromSeconds(60);

    private readonly LogCapture _log = new();

    [PeerFact]
    public async Task Etcd_and_nats_also_after_the_lease_was_revoked()
    {
        await using var etcd = await EtcdServer.StartAsync();
        await using var nats = await NatsServer.StartAsync();
        await using var frontend = StartFrontend(
            ("DYN_DISCOVERY_BACKEND", "etcd"),
            ("ETCD_ENDPOINTS", etcd.Url),
            ("DYN_REQUEST_PLANE", "nats"),
            ("NATS_SERVER", nats.Url)
        );
        await using var link = new NatsLink(new NatsOptions { Server = nats.Url }, TimeProvider.System, _log.For<NatsLink>());
        var discovery = new EtcdDiscovery(
            new EtcdOptions { Endpoints = [etcd.Url], LeaseLifetime = TimeSpan.FromSeconds(3) },
            TimeProvider.System,
            _log.For<EtcdDiscovery>()
        );
        await using var worker = await PlaneWorker.StartAsync(
            discovery,
            dispatcher => new NatsRequestPlane(link, dispatcher, TimeProvider.System, _log.For<NatsRequestPlane>()),
            new PlainConnections(),
            _log
        );
        await AssertServesAsync(frontend);

        var moved = _log.Next(2101, Soon);
        var before = worker.Instance;
        await etcd.RevokeAsync(before.Value);
        await moved;
        Assert.NotEqual(before, worker.Instance);
        await AssertServesAsync(frontend);
    }

    [PeerFact]
    public async Task Files_and_tcp_with_tls_in_both_directions()
    {
        using var folder = new TemporaryFolder();
        using var certificates = new TestCertificates();
        var pair = certificates.Issue("planes");
        var (certificate, key, authority) = (
            folder.Write("c.pem", pair.Certificate),
            folder.Write("c.key", pair.Key),
            folder.Write("ca.pem", certificates.Authority)
        );
        var store = Path.Combine(folder.Path, "store");
        await using var frontend = StartFrontend(
            ("DYN_DISCOVERY_BACKEND", "file"),
            ("DYN_FILE_KV", store),
            ("DYN_REQUEST_PLANE", "tcp"),
            ("DYN_TCP_TLS_CERT_PATH", certificate),
            ("DYN_TCP_TLS_KEY_PATH", key),
            ("DYN_TCP_TLS_CA_CERT_PATH", authority),
            ("DYN_TCP_TLS_CLIENT_CERT_PATH", certificate),
            ("DYN_TCP_TLS_CLIENT_KEY_PATH", key),
            ("DYN_TCP_TLS_CLIENT_CA_CERT_PATH", authority)
        );
        var options = new TlsOptions
        {
            CertificatePath = certificate,
            KeyPath = key,
            AuthorityPath = authority,
            ClientAuthorityPath = authority,
            ClientCertificatePath = certificate,
            ClientKeyPath = key,
        };
        var security = new TlsConnections(options, TimeProvider.System, _log.For<TlsConnections>());
        await using var worker = await PlaneWorker.StartAsync(
            new FileDiscovery(store, TimeProvider.System, _log.For<FileDiscovery>()),
            dispatcher => new TcpRequestPlane(new TcpPlaneOptions(), dispatcher, security, _log.For<TcpRequestPlane>()),
            security,
            _log
        );
        await AssertServesAsync(frontend);
    }

    [PeerFact]
    public async Task Kubernetes_and_tcp()
    {
        await using var cluster = await KubernetesServer.StartAsync();
        var configuration = await cluster.CreateWorkerConfigurationAsync();
        var frontendUid = await cluster.CreatePodAsync("fe-0");
        var workerUid = await cluster.CreatePodAsync("worker-0");
        await using var frontend = StartFrontend(
            ("DYN_DISCOVERY_BACKEND", "kubernetes"),
            ("KUBECONFIG", configuration),
            ("POD_NAME", "fe-0"),
            ("POD_UID", frontendUid),
            ("POD_NAMESPACE", "default"),
            ("DYN_REQUEST_PLANE", "tcp")
        );
        var options = new KubernetesOptions
        {
            Pod = new PodIdentity("worker-0", workerUid, "default", null, false),
            KubeconfigPath = configuration,
        };
        await using var worker = await PlaneWorker.StartAsync(
            new KubernetesDiscovery(options, TimeProvider.System, _log.For<KubernetesDiscovery>()),
            dispatcher => new TcpRequestPlane(new TcpPlaneOptions(), dispatcher, new PlainConnections(), _log.For<TcpRequestPlane>()),
            new PlainConnections(),
            _log
        );
        await AssertServesAsync(frontend);
    }

    /// <summary>
    /// The frontend waits for ever for an answer whose connection broke within the handshake; one that broke after it is an error at once,
    /// which it may try again (request-plane.md, 8). Either way its client must not wait.
    /// </summary>
    [PeerFact]
    public async Task An_answer_cut_before_its_first_item_reaches_the_client_all_the_same()
    {
        using var folder = new TemporaryFolder();
        await using var frontend = StartFrontend(
            ("DYN_DISCOVERY_BACKEND", "file"),
            ("DYN_FILE_KV", folder.Path),
            ("DYN_REQUEST_PLANE", "tcp")
        );
        var connections = new CutConnections();
        await using var worker = await PlaneWorker.StartAsync(
            new FileDiscovery(folder.Path, TimeProvider.System, _log.For<FileDiscovery>()),
            dispatcher => new TcpRequestPlane(new TcpPlaneOptions(), dispatcher, new PlainConnections(), _log.For<TcpRequestPlane>()),
            connections,
            _log
        );
        await AssertServesAsync(frontend);
        foreach (var position in new[] { 0, 10, 24, 60, 98 })
        {
            connections.CutAt = position;
            connections.CutNext(1);
            var opened = connections.Opened;
            var (status, body) = await frontend
                .CompleteAsync(
                    new JsonObject
                    {
                        ["model"] = "tiny",
                        ["prompt"] = "cut",
                        ["max_tokens"] = 3,
                    }
                )
                .WaitAsync(Soon);
            Assert.True(status == HttpStatusCode.OK, $"cut at {position}: {status} {body.ToJsonString()}");
            Assert.Equal(opened + 2, connections.Opened);
        }

        connections.CutAt = 99; // the whole handshake: the frontend knows whose it was
        connections.CutNext(1);
        await frontend
            .CompleteAsync(
                new JsonObject
                {
                    ["model"] = "tiny",
                    ["prompt"] = "cut",
                    ["max_tokens"] = 3,
                }
            )
            .WaitAsync(Soon);
    }

    private static Frontend StartFrontend(params (string Name, string Value)[] variables)
    {
        var all = Peers.Variables("");
        foreach (var (name, value) in variables)
        {
            all[name] = value;
        }

        return Frontend.Start(all);
    }

    /// <summary>A frontend that has just seen a worker leave needs a moment before it takes its successor.</summary>
    private async Task AssertServesAsync(Frontend frontend)
    {
        await frontend.WaitAsync(
            "the frontend did not find the worker",
            Soon,
            async () => (await frontend.Http.GetStringAsync("/v1/models/tiny/ready")).Contains("\"ready\":true", StringComparison.Ordinal)
        );
        var answer = (Status: default(HttpStatusCode), Body: default(JsonNode)!);
        for (var tries = 0; tries < 20 && answer.Status != HttpStatusCode.OK; tries++)
        {
            await Task.Delay(tries == 0 ? 0 : 500);
            answer = await frontend.CompleteAsync(
                new JsonObject
                {
                    ["model"] = "tiny",
                    ["prompt"] = "hello world",
                    ["max_tokens"] = 3,
                }
            );
        }

        var text = answer.Body.ToJsonString();
        Assert.True(
            answer.Status == HttpStatusCode.OK,
            $"{answer.Status} {text}{Environment.NewLine}{_log.Text}{Environment.NewLine}{frontend.Process.Tail}"
        );
        Assert.Contains("\"finish_reason\":\"stop\"", text, StringComparison.Ordinal);
    }
}
