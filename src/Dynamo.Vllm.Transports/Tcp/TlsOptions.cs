namespace Dynamo.Vllm.Transports.Tcp;

/// <summary>
/// TLS of the TCP request plane and of the calls home (runtime.md, 3.2). Every value is a path of a PEM file, or PEM text.
/// </summary>
public sealed record TlsOptions
{
    /// <summary>With <see cref="KeyPath"/>: connections that callers open to us are TLS.</summary>
    public string? CertificatePath { get; init; }

    public string? KeyPath { get; init; }

    /// <summary>Callers must present a certificate of this authority.</summary>
    public string? ClientAuthorityPath { get; init; }

    /// <summary>Connections that we open are TLS, and the server's certificate must be of this authority.</summary>
    public string? AuthorityPath { get; init; }

    /// <summary>Connections that we open are TLS with whatever certificate the server has.</summary>
    public bool Insecure { get; init; }

    /// <summary>Name that the server's certificate must have; default is the host that we dial.</summary>
    public string? ServerName { get; init; }

    /// <summary>Presented to servers that ask for it, with <see cref="ClientKeyPath"/>.</summary>
    public string? ClientCertificatePath { get; init; }

    public string? ClientKeyPath { get; init; }

    public TimeSpan HandshakeTimeLimit { get; init; } = TimeSpan.FromSeconds(3);

    public bool ListensWithTls => CertificatePath is not null && KeyPath is not null;

    public bool DialsWithTls => AuthorityPath is not null || Insecure || ClientCertificatePath is not null;
}
