using System.Globalization;

namespace Dynamo.Vllm.Worker.CommandLine;

/// <summary>Runtime options that take effect through the environment, as variables to set; null means remove.</summary>
/// <remarks>Needs nothing of the engine, so the transports can start before Python does.</remarks>
public static class RuntimeOptionsExport
{
    public static IReadOnlyDictionary<string, string?> Changes(RuntimeOptions runtime, IReadOnlyDictionary<string, string> environment)
    {
        var changes = new Dictionary<string, string?>(StringComparer.Ordinal) { ["DYN_RESPONSE_PLANE"] = runtime.ResponsePlane };
        SetUnlessEmpty("DYN_TCP_TLS_CERT_PATH", runtime.TcpTlsCertPath);
        SetUnlessEmpty("DYN_TCP_TLS_KEY_PATH", runtime.TcpTlsKeyPath);
        SetUnlessEmpty("DYN_TCP_TLS_CA_CERT_PATH", runtime.TcpTlsCaCertPath);
        SetUnlessEmpty("DYN_TCP_TLS_SERVER_NAME", runtime.TcpTlsServerName);
        SetUnlessEmpty("DYN_TCP_TLS_HANDSHAKE_TIMEOUT_SECS", runtime.TcpTlsHandshakeTimeoutSeconds?.ToString(CultureInfo.InvariantCulture));
        SetUnlessEmpty("DYN_TCP_TLS_CLIENT_CERT_PATH", runtime.TcpTlsClientCertPath);
        SetUnlessEmpty("DYN_TCP_TLS_CLIENT_KEY_PATH", runtime.TcpTlsClientKeyPath);
        SetUnlessEmpty("DYN_TCP_TLS_CLIENT_CA_CERT_PATH", runtime.TcpTlsClientCaCertPath);
        SetUnlessEmpty("NATS_TLS_CA_CERT_PATH", runtime.NatsTlsCaCertPath);
        SetUnlessEmpty("NATS_TLS_CLIENT_CERT_PATH", runtime.NatsTlsClientCertPath);
        SetUnlessEmpty("NATS_TLS_CLIENT_KEY_PATH", runtime.NatsTlsClientKeyPath);
        // The reference checks the flag and then forgets it; here it works (docs/compatibility.md, C10).
        SetUnlessEmpty("DYN_ENGINE_REQUEST_LIMIT", runtime.EngineRequestLimit?.ToString(CultureInfo.InvariantCulture));
        SetOrRemove("DYN_TCP_TLS_INSECURE", runtime.TcpTlsInsecure);
        SetOrRemove("NATS_TLS_INSECURE", runtime.NatsTlsInsecure);
        return changes;

        void SetUnlessEmpty(string variable, string? value)
        {
            if (!string.IsNullOrEmpty(value) && value != environment.GetValueOrDefault(variable))
            {
                changes[variable] = value;
            }
        }

        void SetOrRemove(string variable, bool value)
        {
            // Removed when false: to some readers of these variables any text means true.
            if (value || environment.ContainsKey(variable))
            {
                changes[variable] = value ? "1" : null;
            }
        }
    }

    /// <summary>The environment with the changes in it.</summary>
    public static IReadOnlyDictionary<string, string> Apply(
        IReadOnlyDictionary<string, string> environment,
        IReadOnlyDictionary<string, string?> changes
    )
    {
        var applied = new Dictionary<string, string>(environment, StringComparer.Ordinal);
        foreach (var (variable, value) in changes)
        {
            if (value is null)
            {
                applied.Remove(variable);
            }
            else
            {
                applied[variable] = value;
            }
        }

        return applied;
    }
}
