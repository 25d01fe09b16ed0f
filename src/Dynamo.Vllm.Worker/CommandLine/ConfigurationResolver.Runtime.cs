namespace Dynamo.Vllm.Worker.CommandLine;

/// <remarks>Step 1: the options every backend shares.</remarks>
public sealed partial class ConfigurationResolver
{
    private const string TraceVariable = "DYN_FPM_TRACE";

    private static readonly string[] TraceWords = ["1", "0", "true", "false", "on", "off", "yes", "no"];
    private static readonly string[] Modalities = ["audio", "image", "text", "video"];

    private string WithSuffix(string given)
    {
        var name = given.Length > 0 ? given : Variable("DYN_NAMESPACE") ?? "dynamo";
        var suffix = Variable("DYN_NAMESPACE_WORKER_SUFFIX");
        return string.IsNullOrEmpty(suffix) ? name : $"{name}-{suffix}";
    }

    private static StructuralTag? ResolveStructuralTag(Draft draft)
    {
        var runtime = draft.Arguments.Runtime;
        var enableFlag = runtime.DynEnableStructuralTag switch
        {
            null => null,
            true => "--dyn-enable-structural-tag",
            false => "--no-dyn-enable-structural-tag",
        };
        var (scope, schema) = (runtime.DynStructuralTagScope, runtime.DynStructuralTagSchema);
        var shapeFlags = new[]
        {
            scope is null ? null : "--dyn-structural-tag-scope",
            schema is null ? null : "--dyn-structural-tag-schema",
        };
        var legacy = shapeFlags.Prepend(enableFlag).OfType<string>().ToList();
        if (legacy.Count > 0)
        {
            draft.Warnings.Add($"{string.Join(", ", legacy)} deprecated; use --dyn-structural-tag instead");
        }

        if (runtime.DynStructuralTag is not { } setting)
        {
            return runtime.DynEnableStructuralTag == false
                ? null
                : new StructuralTag { Scope = scope ?? "always", Schema = schema ?? "auto" };
        }

        var disagrees = runtime.DynEnableStructuralTag is { } enable && enable != (setting.Tag is not null);
        var conflicts = shapeFlags.Prepend(disagrees ? enableFlag : null).OfType<string>().ToList();
        Refuse(
            conflicts.Count > 0,
            $"--dyn-structural-tag cannot be combined with legacy option(s): {string.Join(", ", conflicts)}");
        return setting.Tag;
    }

    /// <summary>Python and its children read the variable, not the flag, so it has to say what was decided here.</summary>
    private void ResolveForwardPassTrace(Draft draft)
    {
        var enabled = draft.Arguments.Runtime.FpmTrace;
        var raw = Variable(TraceVariable);
        if (!enabled && raw is null)
        {
            return;
        }

        if (!enabled && !TraceWords.Contains(raw!.Trim().ToLowerInvariant()) && !IsSet(MetricsPortVariable))
        {
            draft.Warnings.Add(
                $"Invalid {TraceVariable} value {Quote(raw)}; expected one of 1/0, true/false, on/off, or yes/no. " +
                "FPM tracing is disabled for this worker.");
        }

        draft.Environment[TraceVariable] = enabled ? "1" : "0";
    }

    private static void CheckRuntimeOptions(RuntimeOptions runtime)
    {
        var invalid = runtime.OutputModalities.Select(word => word.ToLowerInvariant()).Where(word => !Modalities.Contains(word)).ToList();
        Refuse(
            invalid.Count > 0,
            $"Invalid output modality: {string.Join(", ", invalid)}. Valid options are: {string.Join(", ", Modalities)}");
        Refuse(
            runtime.EngineRequestLimit <= 0,
            $"--engine-request-limit must be a positive integer, got {runtime.EngineRequestLimit}");
        Refuse(
            runtime.TcpTlsHandshakeTimeoutSeconds <= 0,
            $"--tcp-tls-handshake-timeout must be a positive integer, got {runtime.TcpTlsHandshakeTimeoutSeconds}");
    }

    /// <summary>The Python side and vLLM's connectors may look at these variables, so flags are written back to them.</summary>
    private void ExportRuntimeOptions(Draft draft)
    {
        var runtime = draft.Arguments.Runtime;
        draft.Environment["DYN_RESPONSE_PLANE"] = runtime.ResponsePlane;
        SetUnlessEmpty("DYN_TCP_TLS_CERT_PATH", runtime.TcpTlsCertPath);
        SetUnlessEmpty("DYN_TCP_TLS_KEY_PATH", runtime.TcpTlsKeyPath);
        SetUnlessEmpty("DYN_TCP_TLS_CA_CERT_PATH", runtime.TcpTlsCaCertPath);
        SetUnlessEmpty("DYN_TCP_TLS_SERVER_NAME", runtime.TcpTlsServerName);
        SetUnlessEmpty("DYN_TCP_TLS_HANDSHAKE_TIMEOUT_SECS", runtime.TcpTlsHandshakeTimeoutSeconds?.ToString(Invariant));
        SetUnlessEmpty("DYN_TCP_TLS_CLIENT_CERT_PATH", runtime.TcpTlsClientCertPath);
        SetUnlessEmpty("DYN_TCP_TLS_CLIENT_KEY_PATH", runtime.TcpTlsClientKeyPath);
        SetUnlessEmpty("DYN_TCP_TLS_CLIENT_CA_CERT_PATH", runtime.TcpTlsClientCaCertPath);
        SetUnlessEmpty("NATS_TLS_CA_CERT_PATH", runtime.NatsTlsCaCertPath);
        SetUnlessEmpty("NATS_TLS_CLIENT_CERT_PATH", runtime.NatsTlsClientCertPath);
        SetUnlessEmpty("NATS_TLS_CLIENT_KEY_PATH", runtime.NatsTlsClientKeyPath);
        SetOrRemove("DYN_TCP_TLS_INSECURE", runtime.TcpTlsInsecure);
        SetOrRemove("NATS_TLS_INSECURE", runtime.NatsTlsInsecure);

        void SetUnlessEmpty(string variable, string? value)
        {
            if (!string.IsNullOrEmpty(value) && value != Variable(variable))
            {
                draft.Environment[variable] = value;
            }
        }

        void SetOrRemove(string variable, bool value)
        {
            // Removed when false: to some readers of these variables any text means true.
            if (value || IsSet(variable))
            {
                draft.Environment[variable] = value ? "1" : null;
            }
        }
    }

    private string? ResolveTemplate(string? given)
    {
        if (given is null)
        {
            return null;
        }

        var path = PathExpansion.Expand(given, _environment);
        Refuse(
            !_fileExists(path),
            $"Custom Jinja template file not found: {path}. Please ensure the file exists and the path is correct.");
        return path;
    }
}
