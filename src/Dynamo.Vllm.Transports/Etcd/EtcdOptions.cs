namespace Dynamo.Vllm.Transports.Etcd;

/// <summary>The etcd connection and the lease on it (runtime.md, 3.4).</summary>
public sealed record EtcdOptions
{
    /// <summary>
    /// Members of the cluster as URLs; without a scheme, http or https by <see cref="Tls"/>. The next one is used when one fails.
    /// </summary>
    public required IReadOnlyList<string> Endpoints { get; init; }

    /// <summary>After this without a renewal the server removes every record of this process.</summary>
    public TimeSpan LeaseLifetime { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>How long <see cref="EtcdDiscovery.JoinAsync"/> tries before it fails.</summary>
    public TimeSpan StartupTimeLimit { get; init; } = TimeSpan.FromSeconds(120);

    /// <summary>
    /// HTTP/2 pings while the renewal stream is open. Zero: none. A server refuses pings more often than its own limit, 5 s by default.
    /// </summary>
    public TimeSpan PingInterval { get; init; } = TimeSpan.FromSeconds(15);

    /// <summary>A ping without an answer for this long ends the connection, and the next member is used.</summary>
    public TimeSpan PingTimeLimit { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>One call to one member.</summary>
    public TimeSpan CallTimeLimit { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Longest wait between two tries while no member answers; the first is a thirtieth of it.</summary>
    public TimeSpan RetryWaitMax { get; init; } = TimeSpan.FromSeconds(30);

    public EtcdLogin? Login { get; init; }

    public EtcdTls? Tls { get; init; }
}

/// <summary>User name and password of an etcd with authentication.</summary>
public sealed record EtcdLogin(string User, string Password)
{
    // Records print their members, and this one may end up in a log line.
    public override string ToString() => User;
}

/// <summary>TLS to etcd; each value is a path or PEM text. A file that was renewed is used from the next connection on.</summary>
/// <param name="Authority">Trusted for the server's certificate; null trusts the system's authorities.</param>
/// <param name="Certificate">Client certificate, with <paramref name="Key"/>; null sends none.</param>
public sealed record EtcdTls(string? Authority, string? Certificate, string? Key)
{
    public override string ToString() => nameof(EtcdTls); // the key may be among the members as text
}
