using System.Net.Security;
using Dynamo.Vllm.Transports.Etcd.Wire;
using Dynamo.Vllm.Transports.Security;
using Grpc.Core;
using Grpc.Net.Client;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Transports.Etcd;

/// <summary>Calls to one member of the cluster at a time, and the move to the next when it fails. Thread-safe.</summary>
/// <remarks>
/// A call is tried once on each member. Every call demands a member that sees a leader (metadata <c>hasleader</c>): a member cut off from
/// the others then fails at once instead of keeping us waiting.
/// </remarks>
internal sealed partial class EtcdClient : IDisposable
{
    private readonly EtcdOptions _options;
    private readonly Uri[] _endpoints;
    private readonly RenewedPem<SslClientAuthenticationOptions>? _tls;
    private readonly ILogger _logger;
    private readonly Lock _lock = new();
    private Session? _session;
    private int _position;

    /// <exception cref="InvalidOperationException">An address or a certificate cannot be used.</exception>
    public EtcdClient(EtcdOptions options, TimeProvider time, ILogger logger)
    {
        _options = options;
        _logger = logger;
        _tls = options.Tls is { } tls
            ? new RenewedPem<SslClientAuthenticationOptions>(Given(tls), () => BuildTls(tls), time, logger)
            : null;
        _endpoints = [.. options.Endpoints.Select(endpoint => ParseEndpoint(endpoint, options.Tls is not null))];
        if (_endpoints.Length == 0)
        {
            throw new InvalidOperationException("etcd discovery has no address; set ETCD_ENDPOINTS");
        }
    }

    /// <summary>All addresses, for logs and errors.</summary>
    public string Addresses => ShownAddress.Of(string.Join(", ", _options.Endpoints));

    /// <summary>Runs a unary call, on each member once until one answers.</summary>
    /// <exception cref="RpcException">The last failure.</exception>
    public async Task<T> CallAsync<T>(Func<CallInvoker, CallOptions, AsyncUnaryCall<T>> call, CancellationToken cancellationToken)
    {
        for (var tries = 1; ; tries++)
        {
            var session = Current();
            try
            {
                var metadata = await MetadataAsync(session, cancellationToken).ConfigureAwait(false);
                return await call(session.Invoker, Options(metadata, cancellationToken)).ResponseAsync.ConfigureAwait(false);
            }
            catch (RpcException exception) when (IsWorthAnotherTry(exception) && !cancellationToken.IsCancellationRequested)
            {
                Leave(session, exception);
                // One more than there are members: a login that has expired is renewed on the same member.
                if (tries > _endpoints.Length)
                {
                    throw;
                }
            }
            catch (ObjectDisposedException) when (!IsCurrent(session) && tries <= _endpoints.Length)
            {
                // Another call left this member while we were about to use it.
            }
            catch (RpcException exception) when (exception.StatusCode == StatusCode.Cancelled && cancellationToken.IsCancellationRequested)
            {
                throw new OperationCanceledException(exception.Message, exception, cancellationToken);
            }
        }
    }

    /// <summary>Opens the renewal stream on the member in use.</summary>
    public async Task<(AsyncDuplexStreamingCall<LeaseKeepAliveRequest, LeaseKeepAliveResponse> Call, object Member)> OpenKeepAliveAsync(
        CancellationToken cancellationToken
    )
    {
        var session = Current();
        try
        {
            var metadata = await MetadataAsync(session, cancellationToken).ConfigureAwait(false);
            return (new Lease.LeaseClient(session.Invoker).LeaseKeepAlive(metadata, deadline: null, cancellationToken), session);
        }
        catch (RpcException exception)
        {
            Leave(session, exception);
            throw;
        }
    }

    /// <summary>The member did not keep its word: later calls go to the next one. Without effect if that has happened already.</summary>
    public void Leave(object member, Exception reason)
    {
        Session? left = null;
        lock (_lock)
        {
            if (ReferenceEquals(_session, member))
            {
                left = _session;
                _session = null;
                _position = (_position + 1) % _endpoints.Length;
            }
        }

        if (left is not null)
        {
            left.Channel.Dispose();
            LogLeft(_logger, left.Endpoint, Describe(reason));
        }
    }

    /// <summary>The clock of the member in use, which its answers over plain HTTP bear, and those over gRPC do not.</summary>
    /// <exception cref="IOException">It does not answer.</exception>
    public async Task<DateTimeOffset?> ReadClockAsync(CancellationToken cancellationToken)
    {
        using var http = new HttpClient(CreateHandler()) { Timeout = _options.CallTimeLimit };
        try
        {
            using var answer = await http.GetAsync(new Uri(Current().Endpoint, "/version"), cancellationToken).ConfigureAwait(false);
            return answer.Headers.Date;
        }
        catch (Exception exception)
            when (exception is HttpRequestException or OperationCanceledException && !cancellationToken.IsCancellationRequested)
        {
            throw new IOException(exception.Message, exception);
        }
    }

    /// <summary>The text of a failure without the noise around it.</summary>
    public static string Describe(Exception exception) =>
        exception switch
        {
            RpcException { Status.DebugException: { } inner } => $"{((RpcException)exception).StatusCode}: {Innermost(inner).Message}",
            RpcException rpc => $"{rpc.StatusCode}: {rpc.Status.Detail}",
            _ => exception.Message,
        };

    /// <summary>The cluster, the way to it, or a login that has run out; not a refusal.</summary>
    public static bool IsWorthAnotherTry(RpcException exception) =>
        exception.StatusCode switch
        {
            StatusCode.Unavailable
            or StatusCode.DeadlineExceeded
            or StatusCode.Internal
            or StatusCode.Unknown
            or StatusCode.Cancelled
            or StatusCode.Unauthenticated
            or StatusCode.Aborted => true,
            // Somebody changed users or roles: a signed token is of the time before that, and another one is given.
            StatusCode.InvalidArgument => exception.Status.Detail.Contains("revision of auth store is old", StringComparison.Ordinal),
            _ => false,
        };

    public void Dispose()
    {
        lock (_lock)
        {
            _session?.Channel.Dispose();
            _session = null;
        }
    }

    private static Exception Innermost(Exception exception)
    {
        while (exception.InnerException is { } inner)
        {
            exception = inner;
        }

        return exception;
    }

    private static Uri ParseEndpoint(string endpoint, bool secure)
    {
        var text = endpoint.Contains("://", StringComparison.Ordinal) ? endpoint : $"{(secure ? "https" : "http")}://{endpoint}";
        return Uri.TryCreate(text, UriKind.Absolute, out var uri) && uri.Scheme is "http" or "https"
            ? uri
            : throw new InvalidOperationException($"ETCD_ENDPOINTS: '{ShownAddress.Of(endpoint)}' is no http or https address");
    }

    private static IEnumerable<string> Given(EtcdTls tls) => new[] { tls.Authority, tls.Certificate, tls.Key }.OfType<string>();

    private static SslClientAuthenticationOptions BuildTls(EtcdTls tls)
    {
        var options = new SslClientAuthenticationOptions();
        if (tls.Authority is not null)
        {
            options.CertificateChainPolicy = Pem.TrustOnly(Pem.LoadAuthorities(tls.Authority, "ETCD_AUTH_CA"));
        }

        if (tls.Certificate is not null && tls.Key is not null)
        {
            options.ClientCertificateContext = Pem.LoadIdentity(tls.Certificate, "ETCD_AUTH_CLIENT_CERT", tls.Key, "ETCD_AUTH_CLIENT_KEY");
        }

        return options;
    }

    private Session Current()
    {
        lock (_lock)
        {
            return _session ??= Open(_endpoints[_position]);
        }
    }

    private bool IsCurrent(Session session)
    {
        lock (_lock)
        {
            return ReferenceEquals(_session, session);
        }
    }

    private Session Open(Uri endpoint)
    {
        var channel = GrpcChannel.ForAddress(endpoint, new GrpcChannelOptions { HttpHandler = CreateHandler(), DisposeHttpClient = true });
        return new Session(endpoint, channel);
    }

    private SocketsHttpHandler CreateHandler()
    {
        var handler = new SocketsHttpHandler
        {
            ConnectTimeout = _options.CallTimeLimit,
            EnableMultipleHttp2Connections = false,
            UseProxy = false, // a proxy for web pages is not for the control plane; the reference uses none either
        };
        if (_options.PingInterval > TimeSpan.Zero && _options.PingTimeLimit > TimeSpan.Zero)
        {
            // The handler takes nothing below a second.
            handler.KeepAlivePingDelay = Max(_options.PingInterval, TimeSpan.FromSeconds(1));
            handler.KeepAlivePingTimeout = Max(_options.PingTimeLimit, TimeSpan.FromSeconds(1));
            handler.KeepAlivePingPolicy = HttpKeepAlivePingPolicy.WithActiveRequests;
        }

        if (_tls is not null)
        {
            handler.SslOptions = _tls.Current; // those of the moment, for each connection
        }

        return handler;
    }

    private static TimeSpan Max(TimeSpan one, TimeSpan other) => one > other ? one : other;

    private CallOptions Options(Metadata metadata, CancellationToken cancellationToken) =>
        new(metadata, DateTime.UtcNow + _options.CallTimeLimit, cancellationToken);

    /// <summary>Logs in once for each connection: a token may be unknown to another member, or to the same one after a restart.</summary>
    private async Task<Metadata> MetadataAsync(Session session, CancellationToken cancellationToken)
    {
        var metadata = new Metadata { { "hasleader", "true" } };
        if (_options.Login is not { } login)
        {
            return metadata;
        }

        if (session.Token is null)
        {
            try
            {
                var answer = await new Auth.AuthClient(session.Invoker)
                    .AuthenticateAsync(
                        new AuthenticateRequest { Name = login.User, Password = login.Password },
                        Options(metadata, cancellationToken)
                    )
                    .ConfigureAwait(false);
                session.Token = answer.Token;
            }
            catch (RpcException exception) when (exception.StatusCode == StatusCode.FailedPrecondition)
            {
                session.Token = ""; // authentication is off: the login is not needed
                LogLoginNotNeeded(_logger, session.Endpoint);
            }
        }

        if (session.Token.Length > 0)
        {
            metadata.Add("token", session.Token);
        }

        return metadata;
    }

    [LoggerMessage(EventId = 3401, Level = LogLevel.Warning, Message = "etcd member {Endpoint} failed ({Problem}); using the next one")]
    private static partial void LogLeft(ILogger logger, Uri endpoint, string problem);

    [LoggerMessage(
        EventId = 3402,
        Level = LogLevel.Information,
        Message = "etcd member {Endpoint} has authentication switched off; ETCD_AUTH_USERNAME is not used"
    )]
    private static partial void LogLoginNotNeeded(ILogger logger, Uri endpoint);

    private sealed class Session(Uri endpoint, GrpcChannel channel)
    {
        public Uri Endpoint { get; } = endpoint;

        public GrpcChannel Channel { get; } = channel;

        public CallInvoker Invoker { get; } = channel.CreateCallInvoker();

        public string? Token { get; set; }
    }
}
