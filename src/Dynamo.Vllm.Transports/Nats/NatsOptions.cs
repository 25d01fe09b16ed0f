using Dynamo.Vllm.Transports.Security;

namespace Dynamo.Vllm.Transports.Nats;

/// <summary>The NATS connection (runtime.md, 3.3).</summary>
public sealed record NatsOptions
{
    /// <summary><c>nats://</c> or <c>tls://</c>; several servers separated by commas.</summary>
    public string Server { get; init; } = "nats://localhost:4222";

    /// <summary>The reference always logs in as somebody.</summary>
    public NatsLogin Login { get; init; } = NatsLogin.Default;

    /// <summary>How long the first connection is tried.</summary>
    public TimeSpan StartupTimeLimit { get; init; } = TimeSpan.FromSeconds(120);

    public TimeSpan ConnectTimeLimit { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>A message that cannot leave for this long fails.</summary>
    public TimeSpan PublishTimeLimit { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Longest wait between two tries to reconnect. Callers get "no responders" until then, so it is short.</summary>
    public TimeSpan ReconnectWaitMax { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>An idle connection is probed this often, and given up after two probes without an answer.</summary>
    public TimeSpan PingInterval { get; init; } = TimeSpan.FromSeconds(15);

    /// <summary>Authority for the server's certificate, path or PEM text; null trusts the system's authorities.</summary>
    public string? AuthorityPath { get; init; }

    /// <summary>Client certificate, with <see cref="ClientKeyPath"/>.</summary>
    public string? ClientCertificatePath { get; init; }

    public string? ClientKeyPath { get; init; }

    /// <summary>Any server certificate will do.</summary>
    public bool Insecure { get; init; }

    /// <summary>Shown by the server in its list of connections.</summary>
    public string ClientName { get; init; } = "dynamo-vllm";

    /// <summary><see cref="Server"/> for logs: without the login that it may hold.</summary>
    public string ShownServer => ShownAddress.Of(Server);

    public bool IsSecure => Server.StartsWith("tls://", StringComparison.Ordinal);
}
