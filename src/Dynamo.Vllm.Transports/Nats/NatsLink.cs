using System.Net.Security;
using System.Net.Sockets;
using Dynamo.Vllm.Transports.Security;
using Microsoft.Extensions.Logging;
using NATS.Client.Core;
using NATS.NKeys;

namespace Dynamo.Vllm.Transports.Nats;

/// <summary>The one NATS connection of this process, shared by request plane and event publisher.</summary>
/// <remarks>
/// The first connection must succeed within a limit; a login that is refused fails at once. After that the connection is kept for ever:
/// subscriptions are renewed by the client library after each reconnect. Owned by whoever created it; its users do not dispose it.
/// Thread-safe.
/// </remarks>
public sealed partial class NatsLink : IAsyncDisposable
{
    /// <summary>A server that restarts is back within it; callers wait for longer.</summary>
    private static readonly TimeSpan AwayTolerance = TimeSpan.FromSeconds(10);

    private static readonly TimeSpan RetryWaitMin = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan RetryWaitMax = TimeSpan.FromSeconds(5);

    private readonly NatsOptions _options;
    private readonly TimeProvider _time;
    private readonly ILogger<NatsLink> _logger;
    private readonly SemaphoreSlim _connecting = new(1, 1);
    private NatsConnection? _connection;
    private volatile bool _isDown;
    private long _downSince;

    public NatsLink(NatsOptions options, TimeProvider time, ILogger<NatsLink> logger)
    {
        _options = options;
        _time = time;
        _logger = logger;
    }

    /// <summary>Raised after each reconnect: what was published in between may be lost.</summary>
    public event Action? Reconnected;

    /// <summary>Raised with the text of each error that the server sends, a refused subscription for one: on the reading loop, before
    /// anything that the server sent later is seen.</summary>
    internal event Action<string>? Refused;

    public bool IsConnected => _connection is not null && !_isDown;

    /// <summary>That it has been away for longer than a reconnect takes; or null.</summary>
    public string? Hindrance
    {
        get
        {
            var away = _isDown ? _time.GetElapsedTime(Volatile.Read(ref _downSince)) : TimeSpan.Zero;
            return away < AwayTolerance ? null : $"NATS at {_options.ShownServer} has been away for {away.TotalSeconds:0} s";
        }
    }

    /// <summary>Largest message that the server takes.</summary>
    public int PayloadBytesMax => Connection.ServerInfo?.MaxPayload ?? 1024 * 1024;

    internal NatsConnection Connection => _connection ?? throw new InvalidOperationException("NATS is not connected yet");

    internal NatsOptions Options => _options;

    /// <summary>Connects, once for all users.</summary>
    /// <exception cref="InvalidOperationException">Refused, or not reachable within the limit.</exception>
    public async Task ConnectAsync(CancellationToken cancellationToken)
    {
        await _connecting.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            _connection ??= await ConnectWithRetriesAsync(BuildOptions(), cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            _connecting.Release();
        }
    }

    /// <summary>The server's version, and how long it takes to answer.</summary>
    public async Task<(string Version, TimeSpan RoundTrip)> AskAsync(CancellationToken cancellationToken) =>
        (Connection.ServerInfo?.Version ?? "?", await Connection.PingAsync(cancellationToken).ConfigureAwait(false));

    public async ValueTask DisposeAsync()
    {
        if (_connection is { } connection)
        {
            connection.ConnectionDisconnected -= OnDisconnectedAsync;
            await connection.DisposeAsync().ConfigureAwait(false);
        }
    }

    private async Task<NatsConnection> ConnectWithRetriesAsync(NatsOpts options, CancellationToken cancellationToken)
    {
        var started = _time.GetTimestamp();
        for (var wait = RetryWaitMin; ; wait = wait * 2 < RetryWaitMax ? wait * 2 : RetryWaitMax)
        {
            var connection = new NatsConnection(options);
            try
            {
                await connection
                    .ConnectAsync()
                    .AsTask()
                    .WaitAsync(_options.ConnectTimeLimit * 2, _time, cancellationToken)
                    .ConfigureAwait(false);
                Watch(connection);
                LogConnected(_logger, _options.ShownServer, connection.ServerInfo?.Version ?? "?", connection.ServerInfo?.MaxPayload ?? 0);
                return connection;
            }
            catch (Exception exception) when (exception is NatsException or TimeoutException or IOException or SocketException)
            {
                await connection.DisposeAsync().ConfigureAwait(false);
                ThrowIfRefused(exception);
                var problem = Describe(exception);
                if (_time.GetElapsedTime(started) + wait > _options.StartupTimeLimit)
                {
                    throw new InvalidOperationException(
                        $"NATS at {_options.ShownServer} could not be reached within {_options.StartupTimeLimit.TotalSeconds:0.#} s "
                            + $"({problem}); check NATS_SERVER and that nats-server runs",
                        exception
                    );
                }

                LogWaiting(_logger, _options.ShownServer, problem, wait.TotalSeconds);
                await Task.Delay(wait, _time, cancellationToken).ConfigureAwait(false);
            }
            catch
            {
                await connection.DisposeAsync().ConfigureAwait(false);
                throw;
            }
        }
    }

    private void ThrowIfRefused(Exception exception)
    {
        for (var inner = exception; inner is not null; inner = inner.InnerException)
        {
            if (inner is NatsServerException { IsAuthError: true } refused)
            {
                throw new InvalidOperationException(
                    $"NATS at {_options.ShownServer} refused the login by {_options.Login.Kind} ({refused.Error}); check NATS_AUTH_*",
                    exception
                );
            }

            if (inner is System.Security.Authentication.AuthenticationException)
            {
                throw new InvalidOperationException(
                    $"TLS to NATS at {_options.ShownServer} failed ({inner.Message}); check NATS_TLS_CA_CERT_PATH and NATS_TLS_CLIENT_*",
                    exception
                );
            }
        }
    }

    private static string Describe(Exception exception) =>
        exception.InnerException is { } inner ? $"{exception.Message}: {inner.Message}" : exception.Message;

    private NatsOpts BuildOptions() =>
        NatsOpts.Default with
        {
            Url = _options.Server,
            Name = _options.ClientName,
            LoggerFactory = new NatsErrorWatch(error => Refused?.Invoke(error)),
            AuthOpts = BuildLogin(),
            TlsOpts = BuildTls(),
            ConnectTimeout = _options.ConnectTimeLimit,
            CommandTimeout = _options.PublishTimeLimit,
            PublishTimeoutOnDisconnected = true,
            MaxReconnectRetry = -1,
            IgnoreAuthErrorAbort = true, // accounts may be reloaded while we are connected; only the first refusal is final
            ReconnectWaitMin = TimeSpan.FromMilliseconds(250),
            ReconnectWaitMax = _options.ReconnectWaitMax,
            ReconnectJitter = TimeSpan.FromMilliseconds(250),
            PingInterval = _options.PingInterval,
            DrainPingTimeout = TimeSpan.FromSeconds(2),
            SuppressSlowConsumerWarnings = true, // said by us
        };

    private NatsAuthOpts BuildLogin()
    {
        var login = _options.Login;
        if (login == NatsLogin.Default && Uri.TryCreate(_options.Server, UriKind.Absolute, out var uri) && uri.UserInfo.Length > 0)
        {
            return NatsAuthOpts.Default; // the address holds a login of its own
        }

        return login.Kind switch
        {
            NatsLoginKind.UserAndPassword => new NatsAuthOpts { Username = login.Value, Password = login.Password },
            NatsLoginKind.Token => new NatsAuthOpts { Token = login.Value },
            NatsLoginKind.NKey => new NatsAuthOpts { NKey = PublicKey(login.Value), Seed = login.Value },
            NatsLoginKind.CredentialsFile when !File.Exists(login.Value) => throw new InvalidOperationException(
                $"NATS_AUTH_CREDENTIALS_FILE={login.Value} does not exist"
            ),
            NatsLoginKind.CredentialsFile => new NatsAuthOpts { CredsFile = login.Value },
            _ => NatsAuthOpts.Default,
        };
    }

    private static string PublicKey(string seed)
    {
        try
        {
            using var pair = KeyPair.FromSeed(seed);
            return pair.GetPublicKey();
        }
        catch (Exception exception) when (exception is NKeysException or FormatException or ArgumentException or IndexOutOfRangeException)
        {
            // Without the inner message: it may quote the seed.
            throw new InvalidOperationException("NATS_AUTH_NKEY is no seed (SU...)");
        }
    }

    private NatsTlsOpts BuildTls()
    {
        if (!_options.IsSecure)
        {
            return NatsTlsOpts.Default;
        }

        ConfigureTls(new SslClientAuthenticationOptions()); // a wrong file is told now, not at the first connection
        return new NatsTlsOpts
        {
            Mode = TlsMode.Require,
            InsecureSkipVerify = _options.Insecure,
            ConfigureClientAuthentication = options =>
            {
                ConfigureTls(options); // again at each connection, so that renewed files are used
                return ValueTask.CompletedTask;
            },
        };
    }

    private void ConfigureTls(SslClientAuthenticationOptions options)
    {
        if (_options.Insecure)
        {
            Pem.TrustAnybody(options);
        }
        else if (_options.AuthorityPath is { } authority)
        {
            options.CertificateChainPolicy = Pem.TrustOnly(Pem.LoadAuthorities(authority, "NATS_TLS_CA_CERT_PATH"));
        }

        if (_options is { ClientCertificatePath: { } certificate, ClientKeyPath: { } key })
        {
            options.ClientCertificateContext = Pem.LoadIdentity(certificate, "NATS_TLS_CLIENT_CERT_PATH", key, "NATS_TLS_CLIENT_KEY_PATH");
        }
    }

    private void Watch(NatsConnection connection)
    {
        connection.ConnectionDisconnected += OnDisconnectedAsync;
        connection.ConnectionOpened += OnOpenedAsync;
        connection.LameDuckModeActivated += (_, args) =>
        {
            // The server closes its connections one by one; ours is then opened to another server, or to its successor.
            LogLameDuck(_logger, args.Uri.Authority);
            return ValueTask.CompletedTask;
        };
        connection.ServerError += (_, args) =>
        {
            LogServerError(_logger, args.Error);
            return ValueTask.CompletedTask;
        };
    }

    private ValueTask OnDisconnectedAsync(object? sender, NatsEventArgs args)
    {
        if (!_isDown)
        {
            Volatile.Write(ref _downSince, _time.GetTimestamp());
            _isDown = true;
            LogDisconnected(_logger, _options.ShownServer, args.Message);
        }

        return ValueTask.CompletedTask;
    }

    private ValueTask OnOpenedAsync(object? sender, NatsEventArgs args)
    {
        if (_isDown)
        {
            _isDown = false;
            LogReconnected(_logger, args.Message);
            Reconnected?.Invoke();
        }

        return ValueTask.CompletedTask;
    }

    [LoggerMessage(
        EventId = 3501,
        Level = LogLevel.Information,
        Message = "Connected to NATS at {Server}: version {Version}, messages up to {PayloadBytesMax} bytes"
    )]
    private static partial void LogConnected(ILogger logger, string server, string version, int payloadBytesMax);

    [LoggerMessage(
        EventId = 3502,
        Level = LogLevel.Warning,
        Message = "NATS at {Server} cannot be reached yet ({Problem}); trying again in {Seconds:0.0} s"
    )]
    private static partial void LogWaiting(ILogger logger, string server, string problem, double seconds);

    [LoggerMessage(
        EventId = 3503,
        Level = LogLevel.Warning,
        Message = "Lost the connection to NATS at {Server} ({Problem}); reconnecting until it works"
    )]
    private static partial void LogDisconnected(ILogger logger, string server, string problem);

    [LoggerMessage(EventId = 3504, Level = LogLevel.Information, Message = "Connected to NATS again: {Server}")]
    private static partial void LogReconnected(ILogger logger, string server);

    [LoggerMessage(
        EventId = 3505,
        Level = LogLevel.Warning,
        Message = "NATS server {Server} is about to stop (lame duck); it will close our connection, and we open another"
    )]
    private static partial void LogLameDuck(ILogger logger, string server);

    [LoggerMessage(EventId = 3506, Level = LogLevel.Error, Message = "NATS server refused something that we do: {Problem}")]
    private static partial void LogServerError(ILogger logger, string problem);
}
