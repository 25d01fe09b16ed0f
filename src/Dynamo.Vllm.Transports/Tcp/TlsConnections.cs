using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using Dynamo.Vllm.Transports.Security;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Transports.Tcp;

/// <summary>
/// TLS 1.2 and 1.3 on the connections of the TCP plane, each direction as configured; a direction without TLS stays plain.
/// </summary>
/// <remarks>Files are read at start, where a wrong one fails, and again when they change. Thread-safe.</remarks>
public sealed partial class TlsConnections : IConnectionSecurity
{
    /// <summary>Refused handshakes are told once in this time: a port scanner must not fill the log.</summary>
    private static readonly TimeSpan ReportInterval = TimeSpan.FromSeconds(10);

    private readonly TlsOptions _options;
    private readonly TimeProvider _time;
    private readonly ILogger<TlsConnections> _logger;
    private readonly RenewedPem<SslServerAuthenticationOptions>? _accepting;
    private readonly RenewedPem<DialSettings>? _dialling;
    private long _reported = long.MinValue;

    /// <exception cref="InvalidOperationException">A file cannot be used, or a pair is incomplete.</exception>
    public TlsConnections(TlsOptions options, TimeProvider time, ILogger<TlsConnections> logger)
    {
        _options = options;
        _time = time;
        _logger = logger;
        Validate(options);
        if (options.ListensWithTls)
        {
            _accepting = new(Given(options.CertificatePath, options.KeyPath, options.ClientAuthorityPath), LoadAccepting, time, logger);
        }

        if (options.DialsWithTls)
        {
            _dialling = new(Given(options.AuthorityPath, options.ClientCertificatePath, options.ClientKeyPath), LoadDialling, time, logger);
        }
    }

    public async ValueTask<Stream> SecureAcceptedAsync(Socket socket, CancellationToken cancellationToken)
    {
        var plain = new NetworkStream(socket, ownsSocket: true);
        if (_accepting is null)
        {
            return plain;
        }

        var peer = socket.RemoteEndPoint?.ToString() ?? "?";
        var secure = new SslStream(plain);
        try
        {
            await HandshakeAsync(token => secure.AuthenticateAsServerAsync(_accepting.Current, token), peer, cancellationToken)
                .ConfigureAwait(false);
            return secure;
        }
        catch (Exception exception) when (exception is AuthenticationException or IOException)
        {
            await secure.DisposeAsync().ConfigureAwait(false);
            ReportRefusal(peer, exception);
            throw;
        }
    }

    public async ValueTask<Stream> SecureDialledAsync(Socket socket, string host, CancellationToken cancellationToken)
    {
        var plain = new NetworkStream(socket, ownsSocket: true);
        if (_dialling is null)
        {
            return plain;
        }

        var settings = _dialling.Current;
        var options = new SslClientAuthenticationOptions
        {
            TargetHost = _options.ServerName ?? host, // an address is checked against the certificate, but not sent as a name
            EnabledSslProtocols = Pem.Versions,
            CertificateChainPolicy = settings.Trust,
            ClientCertificateContext = settings.Identity,
        };
        if (_options.Insecure)
        {
            Pem.TrustAnybody(options);
        }

        var secure = new SslStream(plain);
        try
        {
            await HandshakeAsync(token => secure.AuthenticateAsClientAsync(options, token), host, cancellationToken).ConfigureAwait(false);
            return secure;
        }
        catch
        {
            await secure.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    private static void Validate(TlsOptions options)
    {
        if ((options.CertificatePath is null) != (options.KeyPath is null))
        {
            throw new InvalidOperationException("DYN_TCP_TLS_CERT_PATH and DYN_TCP_TLS_KEY_PATH must be set together");
        }

        if ((options.ClientCertificatePath is null) != (options.ClientKeyPath is null))
        {
            throw new InvalidOperationException("DYN_TCP_TLS_CLIENT_CERT_PATH and DYN_TCP_TLS_CLIENT_KEY_PATH must be set together");
        }

        if (options is { ClientCertificatePath: not null, AuthorityPath: null, Insecure: false })
        {
            throw new InvalidOperationException(
                "DYN_TCP_TLS_CLIENT_CERT_PATH needs DYN_TCP_TLS_CA_CERT_PATH (or DYN_TCP_TLS_INSECURE) to verify the peer"
            );
        }

        if (options is { ClientAuthorityPath: not null, ListensWithTls: false })
        {
            throw new InvalidOperationException("DYN_TCP_TLS_CLIENT_CA_CERT_PATH needs DYN_TCP_TLS_CERT_PATH and DYN_TCP_TLS_KEY_PATH");
        }
    }

    private static IEnumerable<string> Given(params string?[] values) => values.OfType<string>();

    private SslServerAuthenticationOptions LoadAccepting()
    {
        var options = new SslServerAuthenticationOptions
        {
            EnabledSslProtocols = Pem.Versions,
            ServerCertificateContext = Pem.LoadIdentity(
                _options.CertificatePath!,
                "DYN_TCP_TLS_CERT_PATH",
                _options.KeyPath!,
                "DYN_TCP_TLS_KEY_PATH"
            ),
        };
        if (_options.ClientAuthorityPath is { } authority)
        {
            options.ClientCertificateRequired = true;
            options.CertificateChainPolicy = Pem.TrustOnly(Pem.LoadAuthorities(authority, "DYN_TCP_TLS_CLIENT_CA_CERT_PATH"));
        }

        return options;
    }

    private DialSettings LoadDialling() =>
        new(
            _options.AuthorityPath is { } authority ? Pem.TrustOnly(Pem.LoadAuthorities(authority, "DYN_TCP_TLS_CA_CERT_PATH")) : null,
            _options is { ClientCertificatePath: { } certificate, ClientKeyPath: { } key }
                ? Pem.LoadIdentity(certificate, "DYN_TCP_TLS_CLIENT_CERT_PATH", key, "DYN_TCP_TLS_CLIENT_KEY_PATH")
                : null
        );

    private async Task HandshakeAsync(Func<CancellationToken, Task> handshake, string peer, CancellationToken cancellationToken)
    {
        using var limit = new CancellationTokenSource(_options.HandshakeTimeLimit, _time);
        using var both = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, limit.Token);
        try
        {
            await handshake(both.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException exception) when (limit.IsCancellationRequested && !cancellationToken.IsCancellationRequested)
        {
            throw new IOException($"no TLS handshake with {peer} within {_options.HandshakeTimeLimit.TotalSeconds:0.###} s", exception);
        }
    }

    private void ReportRefusal(string peer, Exception exception)
    {
        var last = Interlocked.Read(ref _reported);
        var now = _time.GetTimestamp();
        var isDue = last == long.MinValue || _time.GetElapsedTime(last, now) >= ReportInterval;
        if (isDue && Interlocked.CompareExchange(ref _reported, now, last) == last)
        {
            LogRefused(_logger, peer, exception.InnerException is { } inner ? $"{exception.Message} {inner.Message}" : exception.Message);
        }
    }

    [LoggerMessage(EventId = 3603, Level = LogLevel.Warning, Message = "TLS handshake with {Peer} failed: {Problem}")]
    private static partial void LogRefused(ILogger logger, string peer, string problem);

    private sealed record DialSettings(X509ChainPolicy? Trust, SslStreamCertificateContext? Identity);
}
