using Dynamo.Vllm.Worker.CommandLine.Parsing;

namespace Dynamo.Vllm.Worker.CommandLine;

/// <summary>The TCP request plane and the response channel.</summary>
public sealed record TcpEnvironment
{
    /// <summary>Address literal, wildcard or interface name to listen on; null means automatic.</summary>
    public string? Host { get; init; }

    /// <summary>Zero: the system chooses.</summary>
    public int Port { get; init; }

    public int FrameBytesMax { get; init; } = 33_554_432;

    public int RequestsMax { get; init; } = 10_000;

    public int QueueDepthMax { get; init; } = 40_000;

    /// <summary>Set when an engine request limit sizes the two numbers above, and requests beyond them are refused.</summary>
    public bool RejectsWhenFull { get; init; }

    public required TlsEnvironment Tls { get; init; }

    internal static TcpEnvironment Read(EnvironmentReader reader)
    {
        var values = new TcpEnvironment
        {
            Host = reader.Text("DYN_TCP_RPC_HOST"),
            Port = reader.Integer("DYN_TCP_RPC_PORT", 0, minimum: 0, maximum: 65535),
            FrameBytesMax = reader.Integer("DYN_TCP_MAX_MESSAGE_SIZE", 33_554_432),
            RequestsMax = reader.Integer("DYN_TCP_WORKER_POOL_SIZE", 10_000),
            QueueDepthMax = reader.Integer("DYN_TCP_WORK_QUEUE_SIZE", 40_000),
            Tls = TlsEnvironment.Read(reader),
        };

        // The reference reads the limit here only, so its flag alone has no effect; see docs of --engine-request-limit.
        if (reader.Text("DYN_ENGINE_REQUEST_LIMIT") is null)
        {
            return values;
        }

        // One place of the queue is the request that waits for a permit, hence the minus one.
        return values with
        {
            RequestsMax = reader.Integer("DYN_ENGINE_REQUEST_LIMIT", 1),
            QueueDepthMax = Math.Max(1, reader.Integer("DYN_DYNAMO_REQUEST_QUEUE_LIMIT", 16, minimum: 0) - 1),
            RejectsWhenFull = true,
        };
    }
}

/// <summary>TLS of both TCP directions: the listener of this worker, and its calls home to the frontend. All paths are PEM files.</summary>
public sealed record TlsEnvironment
{
    public string? CertificatePath { get; init; }

    public string? KeyPath { get; init; }

    public string? CertificateAuthorityPath { get; init; }

    public bool Insecure { get; init; }

    public string? ServerName { get; init; }

    public TimeSpan HandshakeTimeout { get; init; } = TimeSpan.FromSeconds(3);

    public string? ClientCertificatePath { get; init; }

    public string? ClientKeyPath { get; init; }

    /// <summary>Set: clients of this worker must present a certificate of this authority.</summary>
    public string? ClientCertificateAuthorityPath { get; init; }

    public bool ListensWithTls => CertificatePath is not null && KeyPath is not null;

    public bool DialsWithTls =>
        CertificateAuthorityPath is not null || Insecure || ClientCertificatePath is not null || ClientKeyPath is not null;

    internal static TlsEnvironment Read(EnvironmentReader reader)
    {
        var values = new TlsEnvironment
        {
            CertificatePath = reader.Text("DYN_TCP_TLS_CERT_PATH"),
            KeyPath = reader.Text("DYN_TCP_TLS_KEY_PATH"),
            CertificateAuthorityPath = reader.Text("DYN_TCP_TLS_CA_CERT_PATH"),
            Insecure = reader.Flag("DYN_TCP_TLS_INSECURE"),
            ServerName = reader.Text("DYN_TCP_TLS_SERVER_NAME"),
            HandshakeTimeout = reader.PositiveSeconds("DYN_TCP_TLS_HANDSHAKE_TIMEOUT_SECS", 3),
            ClientCertificatePath = reader.Text("DYN_TCP_TLS_CLIENT_CERT_PATH"),
            ClientKeyPath = reader.Text("DYN_TCP_TLS_CLIENT_KEY_PATH"),
            ClientCertificateAuthorityPath = reader.Text("DYN_TCP_TLS_CLIENT_CA_CERT_PATH"),
        };
        if ((values.CertificatePath is null) != (values.KeyPath is null))
        {
            throw new ConfigurationException("DYN_TCP_TLS_CERT_PATH and DYN_TCP_TLS_KEY_PATH must be set together");
        }

        if ((values.ClientCertificatePath is null) != (values.ClientKeyPath is null))
        {
            throw new ConfigurationException("DYN_TCP_TLS_CLIENT_CERT_PATH and DYN_TCP_TLS_CLIENT_KEY_PATH must be set together");
        }

        return values.ClientCertificatePath is not null && values.CertificateAuthorityPath is null && !values.Insecure
            ? throw new ConfigurationException(
                "DYN_TCP_TLS_CLIENT_CERT_PATH needs DYN_TCP_TLS_CA_CERT_PATH (or DYN_TCP_TLS_INSECURE) to verify the peer")
            : values;
    }
}

/// <summary>How to log in to NATS; exactly one way applies.</summary>
public enum NatsCredentialKind
{
    UserAndPassword,
    Token,
    NKey,
    CredentialsFile,
}

/// <summary>One way to log in.</summary>
/// <param name="Value">User name, token, seed or path, by <paramref name="Kind"/>.</param>
/// <param name="Password">Only with a user name.</param>
public sealed record NatsCredentials(NatsCredentialKind Kind, string Value, string? Password = null)
{
    // Records print their members, and this one may end up in a log line.
    public override string ToString() => Kind.ToString();
}

/// <summary>The NATS connection.</summary>
public sealed record NatsEnvironment
{
    public string Server { get; init; } = "nats://localhost:4222";

    /// <summary>The address was given, which alone asks for a connection.</summary>
    public bool ServerIsSet { get; init; }

    public required NatsCredentials Credentials { get; init; }

    public TimeSpan RequestTimeout { get; init; } = TimeSpan.FromSeconds(10);

    public TimeSpan StartupConnectTimeout { get; init; } = TimeSpan.FromSeconds(120);

    public string? CertificateAuthorityPath { get; init; }

    public string? ClientCertificatePath { get; init; }

    public string? ClientKeyPath { get; init; }

    public bool Insecure { get; init; }

    internal static NatsEnvironment Read(EnvironmentReader reader)
    {
        var values = new NatsEnvironment
        {
            Server = reader.Text("NATS_SERVER") ?? "nats://localhost:4222",
            ServerIsSet = reader.IsSet("NATS_SERVER"),
            Credentials = ReadCredentials(reader),
            RequestTimeout = reader.PositiveSeconds("DYN_NATS_REQUEST_TIMEOUT_SECS", 10),
            StartupConnectTimeout = reader.PositiveSeconds("NATS_STARTUP_CONNECT_TIMEOUT_SECONDS", 120),
            CertificateAuthorityPath = reader.Text("NATS_TLS_CA_CERT_PATH"),
            ClientCertificatePath = reader.Text("NATS_TLS_CLIENT_CERT_PATH"),
            ClientKeyPath = reader.Text("NATS_TLS_CLIENT_KEY_PATH"),
            Insecure = reader.Flag("NATS_TLS_INSECURE"),
        };
        var secure = values.Server.StartsWith("tls://", StringComparison.Ordinal);
        if (!secure && !values.Server.StartsWith("nats://", StringComparison.Ordinal))
        {
            throw new ConfigurationException($"NATS_SERVER={PythonText.Quote(values.Server)}: must start with nats:// or tls://");
        }

        var asksForTls = values.CertificateAuthorityPath is not null || values.ClientCertificatePath is not null
            || values.ClientKeyPath is not null || values.Insecure;
        return asksForTls && !secure
            ? throw new ConfigurationException($"NATS_TLS_* needs a tls:// address, but NATS_SERVER is {PythonText.Quote(values.Server)}")
            : values;
    }

    private static NatsCredentials ReadCredentials(EnvironmentReader reader)
    {
        if (reader.Text("NATS_AUTH_USERNAME") is { } user && reader.Text("NATS_AUTH_PASSWORD") is { } password)
        {
            return new NatsCredentials(NatsCredentialKind.UserAndPassword, user, password);
        }

        if (reader.Text("NATS_AUTH_TOKEN") is { } token)
        {
            return new NatsCredentials(NatsCredentialKind.Token, token);
        }

        if (reader.Text("NATS_AUTH_NKEY") is { } seed)
        {
            return new NatsCredentials(NatsCredentialKind.NKey, seed);
        }

        // The reference always logs in; servers without accounts ignore it.
        return reader.Text("NATS_AUTH_CREDENTIALS_FILE") is { } path
            ? new NatsCredentials(NatsCredentialKind.CredentialsFile, path)
            : new NatsCredentials(NatsCredentialKind.UserAndPassword, "user", "user");
    }
}

/// <summary>The etcd connection.</summary>
public sealed record EtcdEnvironment
{
    public required IReadOnlyList<string> Endpoints { get; init; }

    public TimeSpan LeaseLifetime { get; init; } = TimeSpan.FromSeconds(30);

    public TimeSpan StartupConnectTimeout { get; init; } = TimeSpan.FromSeconds(120);

    /// <summary>Zero: no HTTP/2 pings.</summary>
    public TimeSpan KeepAliveInterval { get; init; } = TimeSpan.FromSeconds(15);

    public TimeSpan KeepAliveTimeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>User name and password; null unless both are set.</summary>
    public (string User, string Password)? Login { get; init; }

    /// <summary>Authority, certificate and key, each a path or PEM text; null unless all three are set.</summary>
    /// <remarks>Documented as paths, but release 1.6.1 takes the text of the variable for the PEM itself. Readers accept both.</remarks>
    public (string Authority, string Certificate, string Key)? Tls { get; init; }

    internal static EtcdEnvironment Read(EnvironmentReader reader)
    {
        const StringSplitOptions trimmed = StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries;
        return new EtcdEnvironment
        {
            Endpoints = (reader.Text("ETCD_ENDPOINTS") ?? "http://localhost:2379").Split(',', trimmed),
            LeaseLifetime = TimeSpan.FromSeconds(reader.Integer("ETCD_LEASE_TTL", 30)),
            StartupConnectTimeout = reader.PositiveSeconds("ETCD_STARTUP_CONNECT_TIMEOUT_SECONDS", 120),
            KeepAliveInterval = reader.Seconds("ETCD_KEEPALIVE_INTERVAL_SECONDS", 15),
            KeepAliveTimeout = reader.Seconds("ETCD_KEEPALIVE_TIMEOUT_SECONDS", 10),
            Login = reader.Text("ETCD_AUTH_USERNAME") is { } user && reader.Text("ETCD_AUTH_PASSWORD") is { } password
                ? (user, password)
                : null,
            Tls = reader.Text("ETCD_AUTH_CA") is { } authority && reader.Text("ETCD_AUTH_CLIENT_CERT") is { } certificate
                && reader.Text("ETCD_AUTH_CLIENT_KEY") is { } key
                ? (authority, certificate, key)
                : null,
        };
    }
}
