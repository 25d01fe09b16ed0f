namespace Dynamo.Vllm.Transports.Otlp;

/// <summary>Where metrics are sent, and as whose.</summary>
public sealed record OtlpOptions
{
    /// <summary>With <c>http</c> or <c>https</c>; for HTTP with its path.</summary>
    public required Uri Endpoint { get; init; }

    public OtlpProtocol Protocol { get; init; }

    /// <summary>Sent with each request. They hold the collector's credentials, so they are never logged.</summary>
    public IReadOnlyList<KeyValuePair<string, string>> Headers { get; init; } = [];

    /// <summary>Attributes of the resource, the service's name among them.</summary>
    public IReadOnlyList<KeyValuePair<string, string>> Resource { get; init; } = [];

    /// <summary>Version of the worker that the scope names.</summary>
    public string ScopeVersion { get; init; } = "";

    /// <summary>The longest that one export takes, connecting included. Ten seconds is OpenTelemetry's own default.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(10);
}
