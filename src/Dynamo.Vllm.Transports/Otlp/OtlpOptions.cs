using System.Security.Cryptography.X509Certificates;
using Dynamo.Vllm.Transports.Security;

namespace Dynamo.Vllm.Transports.Otlp;

/// <summary>Where one signal is sent, and as whose.</summary>
public sealed record OtlpOptions
{
    /// <summary>With <c>http</c> or <c>https</c>; for HTTP with its path.</summary>
    public required Uri Endpoint { get; init; }

    public OtlpProtocol Protocol { get; init; }

    /// <summary>Sent with each request. They hold the collector's credentials, so they are never logged.</summary>
    public IReadOnlyList<KeyValuePair<string, string>> Headers { get; init; } = [];

    /// <summary>Whom a collector's certificate must come from; null: the system's authorities.</summary>
    public X509Certificate2Collection? Authorities { get; init; }

    /// <summary>Attributes of the resource, the service's name among them.</summary>
    public IReadOnlyList<KeyValuePair<string, string>> Resource { get; init; } = [];

    /// <summary>Version of the worker that the scope names.</summary>
    public string ScopeVersion { get; init; } = "";

    /// <summary>The longest that one export takes, connecting included. Ten seconds is OpenTelemetry's own default.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Of a PEM file.</summary>
    /// <exception cref="InvalidOperationException">It cannot be used; the message names the setting.</exception>
    public static X509Certificate2Collection LoadAuthorities(string path, string setting) => Pem.LoadAuthorities(path, setting);
}
