using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Core.KvEvents;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Transports;
using Dynamo.Vllm.Transports.Discovery;
using Dynamo.Vllm.Transports.Etcd;
using Dynamo.Vllm.Transports.Kubernetes;
using Dynamo.Vllm.Transports.Nats;
using Dynamo.Vllm.Transports.Tcp;
using Dynamo.Vllm.Transports.Zmq;
using Dynamo.Vllm.Worker.Configuration;

namespace Dynamo.Vllm.Worker.Hosting;

/// <summary>The transports that the options name. Owns the one NATS connection, which request and event plane share.</summary>
internal sealed class PlaneFactory : IAsyncDisposable
{
    private readonly RuntimePlanes _planes;
    private readonly RuntimeEnvironment _environment;
    private readonly IReadOnlyDictionary<string, string> _variables;
    private readonly ConnectionCaps _connections;
    private readonly TimeProvider _time;
    private readonly ILoggerFactory _loggers;
    private readonly Lazy<NatsLink> _nats;

    public PlaneFactory(
        RuntimePlanes planes,
        RuntimeEnvironment environment,
        IReadOnlyDictionary<string, string> variables,
        ConnectionCaps connections,
        TimeProvider time,
        ILoggerFactory loggers
    )
    {
        _variables = variables;
        _planes = planes;
        _environment = environment;
        _connections = connections;
        _time = time;
        _loggers = loggers;
        _nats = new Lazy<NatsLink>(() => new NatsLink(environment.Nats, time, loggers.CreateLogger<NatsLink>()));
        if (planes.Response == ResponsePlane.Quic)
        {
            throw new ConfigurationException(
                "--response-plane quic is not supported; use tcp here and on the frontend (DYN_RESPONSE_PLANE=tcp)"
            );
        }
    }

    /// <summary>The store for one who only looks, and is told soon when there is nothing to see.</summary>
    public IDiscovery CreateVisitor(TimeSpan patience) =>
        CreateDiscovery(
            _environment.Etcd with
            {
                StartupTimeLimit = patience,
                CallTimeLimit = patience,
            },
            pod => new KubernetesOptions
            {
                Pod = pod,
                IsVisitor = true,
                CallTimeLimit = patience,
                RetryTimeLimit = patience,
            }
        );

    public IDiscovery CreateDiscovery() => CreateDiscovery(_environment.Etcd, pod => new KubernetesOptions { Pod = pod });

    private IDiscovery CreateDiscovery(EtcdOptions etcd, Func<PodIdentity, KubernetesOptions> kubernetes) =>
        _planes.Discovery switch
        {
            DiscoveryBackend.File => new FileDiscovery(_environment.FileStoreRoot, _time, _loggers.CreateLogger<FileDiscovery>()),
            DiscoveryBackend.Memory => new MemoryDiscovery(),
            DiscoveryBackend.Etcd => new EtcdDiscovery(etcd, _time, _loggers.CreateLogger<EtcdDiscovery>()),
            _ => new KubernetesDiscovery(kubernetes(PodIdentity.Read(_variables)), _time, _loggers.CreateLogger<KubernetesDiscovery>()),
        };

    public IConnectionSecurity CreateSecurity()
    {
        var tls = _environment.Tcp.Tls;
        return tls.ListensWithTls || tls.DialsWithTls
            ? new TlsConnections(tls, _time, _loggers.CreateLogger<TlsConnections>())
            : new PlainConnections();
    }

    public IRequestPlane CreateRequestPlane(RequestDispatcher dispatcher, IConnectionSecurity security) =>
        _planes.Request switch
        {
            RequestPlane.Tcp => new TcpRequestPlane(
                TcpOptions(_environment.Tcp),
                dispatcher,
                security,
                _loggers.CreateLogger<TcpRequestPlane>()
            ),
            _ => new NatsRequestPlane(_nats.Value, dispatcher, _time, _loggers.CreateLogger<NatsRequestPlane>()),
        };

    /// <summary>The event plane of a worker in the namespace. Brokers are looked up once, here, as in the reference.</summary>
    /// <exception cref="ConfigurationException">A broker is wanted, and none is named or registered.</exception>
    public async Task<IEventPlane> CreateEventPlaneAsync(
        WorkerRegistration registration,
        string @namespace,
        CancellationToken cancellationToken
    )
    {
        if (_planes.Event == EventPlane.Nats)
        {
            return new NatsEventPlane(_nats.Value);
        }

        var brokers = await FindBrokersAsync(registration, @namespace, cancellationToken).ConfigureAwait(false);
        return new ZmqEventPlane(_environment.EventPlaneHost, brokers, _connections.Events, _time, _loggers.CreateLogger<ZmqEventPlane>());
    }

    /// <summary>Connects to NATS if any plane, or the mere presence of its address, asks for it (runtime.md, 3.1).</summary>
    public Task ConnectAsync(CancellationToken cancellationToken) =>
        _environment.NeedsNats(_planes) ? _nats.Value.ConnectAsync(cancellationToken) : Task.CompletedTask;

    public AdmissionLimits CreateAdmission() => new(_environment.Tcp.RequestsMax, _environment.Tcp.QueueDepthMax);

    public ValueTask DisposeAsync() => _nats.IsValueCreated ? _nats.Value.DisposeAsync() : ValueTask.CompletedTask;

    /// <summary>DYN_ZMQ_BROKER_URL, else what DYN_ZMQ_BROKER_ENABLED finds; null: no broker is wanted (kv-and-load.md, 5.4).</summary>
    private async Task<ZmqBrokerAddresses?> FindBrokersAsync(
        WorkerRegistration registration,
        string @namespace,
        CancellationToken cancellationToken
    )
    {
        if (_environment.EventBrokerUrl is { } url)
        {
            try
            {
                return ZmqBrokerAddresses.Parse(url);
            }
            catch (FormatException exception)
            {
                throw new ConfigurationException(exception.Message);
            }
        }

        if (!_environment.EventBrokerEnabled)
        {
            return null;
        }

        var channels = await registration
            .ListAsync(DiscoveryRecord.EventChannels, ZmqBrokerAddresses.KeyPrefix(@namespace), cancellationToken)
            .ConfigureAwait(false);
        return ZmqBrokerAddresses.FromChannels(channels)
            ?? throw new ConfigurationException(
                $"DYN_ZMQ_BROKER_ENABLED is set and no broker is registered for namespace '{@namespace}' in {_planes.Discovery} discovery: "
                    + "start the broker first, or name it in DYN_ZMQ_BROKER_URL"
            );
    }

    private TcpPlaneOptions TcpOptions(TcpEnvironment tcp)
    {
        var (bind, advertised) = NetworkAddresses.Resolve(tcp.Host);
        return new TcpPlaneOptions
        {
            BindAddress = bind,
            AdvertisedAddress = advertised,
            Port = tcp.Port,
            Connections = _connections.Requests,
            FrameBytesMax = tcp.FrameBytesMax,
        };
    }
}
