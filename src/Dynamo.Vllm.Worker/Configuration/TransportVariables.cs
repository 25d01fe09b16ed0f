using Dynamo.Vllm.Transports.Etcd;
using Dynamo.Vllm.Transports.Nats;
using Dynamo.Vllm.Transports.Tcp;
using Dynamo.Vllm.Worker.Configuration.Options;
using Dynamo.Vllm.Worker.Configuration.Parsing;
using Dynamo.Vllm.Worker.Configuration.Rules;

namespace Dynamo.Vllm.Worker.Configuration;

/// <summary>The options of transports as the environment gives them.</summary>
internal static class TransportVariables
{
    public static TlsOptions ReadTls(EnvironmentReader reader)
    {
        var values = new TlsOptions
        {
            CertificatePath = reader.Text(RuntimeOptions.TcpTlsCertPath),
            KeyPath = reader.Text(RuntimeOptions.TcpTlsKeyPath),
            ClientAuthorityPath = reader.Text(RuntimeOptions.TcpTlsClientCaCertPath),
            AuthorityPath = reader.Text(RuntimeOptions.TcpTlsCaCertPath),
            Insecure = reader.Get(RuntimeOptions.TcpTlsInsecure),
            ServerName = reader.Text(RuntimeOptions.TcpTlsServerName),
            ClientCertificatePath = reader.Text(RuntimeOptions.TcpTlsClientCertPath),
            ClientKeyPath = reader.Text(RuntimeOptions.TcpTlsClientKeyPath),
            HandshakeTimeLimit = ReadHandshakeTimeLimit(reader),
        };
        if ((values.CertificatePath is null) != (values.KeyPath is null))
        {
            throw new ConfigurationException("DYN_TCP_TLS_CERT_PATH and DYN_TCP_TLS_KEY_PATH must be set together");
        }

        if ((values.ClientCertificatePath is null) != (values.ClientKeyPath is null))
        {
            throw new ConfigurationException("DYN_TCP_TLS_CLIENT_CERT_PATH and DYN_TCP_TLS_CLIENT_KEY_PATH must be set together");
        }

        return values.ClientCertificatePath is not null && values.AuthorityPath is null && !values.Insecure
            ? throw new ConfigurationException(
                "DYN_TCP_TLS_CLIENT_CERT_PATH needs DYN_TCP_TLS_CA_CERT_PATH (or DYN_TCP_TLS_INSECURE) to verify the peer"
            )
            : values;
    }

    // What is not positive is refused with the other rules (ConfigurationResolver); it must only not do harm before.
    private static TimeSpan ReadHandshakeTimeLimit(EnvironmentReader reader) =>
        reader.Get(RuntimeOptions.TcpTlsHandshakeTimeoutSeconds) is > 0 and var seconds
            ? TimeSpan.FromSeconds(Math.Min((double)seconds, EnvironmentReader.SecondsMax))
            : new TlsOptions().HandshakeTimeLimit;

    public static NatsOptions ReadNats(EnvironmentReader reader)
    {
        var values = new NatsOptions
        {
            Server = reader.Text("NATS_SERVER") ?? "nats://localhost:4222",
            Login = ReadLogin(reader),
            StartupTimeLimit = reader.PositiveSeconds("NATS_STARTUP_CONNECT_TIMEOUT_SECONDS", 120),
            AuthorityPath = reader.Text(RuntimeOptions.NatsTlsCaCertPath),
            ClientCertificatePath = reader.Text(RuntimeOptions.NatsTlsClientCertPath),
            ClientKeyPath = reader.Text(RuntimeOptions.NatsTlsClientKeyPath),
            Insecure = reader.Get(RuntimeOptions.NatsTlsInsecure),
        };
        if (!values.IsSecure && !values.Server.StartsWith("nats://", StringComparison.Ordinal))
        {
            throw new ConfigurationException($"NATS_SERVER={PythonText.Quote(values.ShownServer)}: must start with nats:// or tls://");
        }

        var asksForTls =
            values.AuthorityPath is not null
            || values.ClientCertificatePath is not null
            || values.ClientKeyPath is not null
            || values.Insecure;
        return asksForTls && !values.IsSecure
            ? throw new ConfigurationException(
                $"NATS_TLS_* needs a tls:// address, but NATS_SERVER is {PythonText.Quote(values.ShownServer)}"
            )
            : values;
    }

    /// <remarks>TLS needs all three variables. Documented as paths, 1.6.1 takes their text for the PEM itself; both are accepted.</remarks>
    public static EtcdOptions ReadEtcd(EnvironmentReader reader)
    {
        const StringSplitOptions trimmed = StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries;
        return new EtcdOptions
        {
            Endpoints = (reader.Text("ETCD_ENDPOINTS") ?? "http://localhost:2379").Split(',', trimmed),
            LeaseLifetime = TimeSpan.FromSeconds(reader.Integer("ETCD_LEASE_TTL", 30)),
            StartupTimeLimit = reader.PositiveSeconds("ETCD_STARTUP_CONNECT_TIMEOUT_SECONDS", 120),
            PingInterval = reader.Seconds("ETCD_KEEPALIVE_INTERVAL_SECONDS", 15),
            PingTimeLimit = reader.Seconds("ETCD_KEEPALIVE_TIMEOUT_SECONDS", 10),
            Login =
                reader.Text("ETCD_AUTH_USERNAME") is { } user && reader.Text("ETCD_AUTH_PASSWORD") is { } password
                    ? new EtcdLogin(user, password)
                    : null,
            Tls =
                reader.Text("ETCD_AUTH_CA") is { } authority
                && reader.Text("ETCD_AUTH_CLIENT_CERT") is { } certificate
                && reader.Text("ETCD_AUTH_CLIENT_KEY") is { } key
                    ? new EtcdTls(authority, certificate, key)
                    : null,
        };
    }

    private static NatsLogin ReadLogin(EnvironmentReader reader)
    {
        if (reader.Text("NATS_AUTH_USERNAME") is { } user && reader.Text("NATS_AUTH_PASSWORD") is { } password)
        {
            return new NatsLogin(NatsLoginKind.UserAndPassword, user, password);
        }

        if (reader.Text("NATS_AUTH_TOKEN") is { } token)
        {
            return new NatsLogin(NatsLoginKind.Token, token);
        }

        if (reader.Text("NATS_AUTH_NKEY") is { } seed)
        {
            return new NatsLogin(NatsLoginKind.NKey, seed);
        }

        return reader.Text("NATS_AUTH_CREDENTIALS_FILE") is { } path
            ? new NatsLogin(NatsLoginKind.CredentialsFile, path)
            : NatsLogin.Default;
    }
}
