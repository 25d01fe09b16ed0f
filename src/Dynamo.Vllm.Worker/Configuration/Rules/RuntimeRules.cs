using Dynamo.Vllm.Worker.Configuration.Options;

namespace Dynamo.Vllm.Worker.Configuration.Rules;

/// <summary>Step 1: the options every backend shares.</summary>
internal sealed class RuntimeRules(HostFacts facts) : ConfigurationRules(facts)
{
    private const string TraceVariable = "DYN_FPM_TRACE";

    private static readonly string[] TraceWords = ["1", "0", "true", "false", "on", "off", "yes", "no"];
    private static readonly string[] Modalities = ["audio", "image", "text", "video"];

    public string WithSuffix(string given)
    {
        var name = given.Length > 0 ? given : Variable("DYN_NAMESPACE") ?? "dynamo";
        var suffix = Variable("DYN_NAMESPACE_WORKER_SUFFIX");
        return string.IsNullOrEmpty(suffix) ? name : $"{name}-{suffix}";
    }

    public StructuralTag? ResolveStructuralTag(ConfigurationDraft draft)
    {
        var options = draft.Options;
        var enableFlag = options.Get(RuntimeOptions.DynEnableStructuralTag) switch
        {
            null => null,
            true => "--dyn-enable-structural-tag",
            false => "--no-dyn-enable-structural-tag",
        };
        var (scope, schema) = (options.Get(RuntimeOptions.DynStructuralTagScope), options.Get(RuntimeOptions.DynStructuralTagSchema));
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

        if (options.Get(RuntimeOptions.DynStructuralTag) is not { } setting)
        {
            return options.Get(RuntimeOptions.DynEnableStructuralTag) == false
                ? null
                : new StructuralTag { Scope = scope ?? "always", Schema = schema ?? "auto" };
        }

        var disagrees = options.Get(RuntimeOptions.DynEnableStructuralTag) is { } enable && enable != (setting.Tag is not null);
        var conflicts = shapeFlags.Prepend(disagrees ? enableFlag : null).OfType<string>().ToList();
        Refuse(conflicts.Count > 0, $"--dyn-structural-tag cannot be combined with legacy option(s): {string.Join(", ", conflicts)}");
        return setting.Tag;
    }

    /// <summary>Python and its children read the variable, not the flag, so it has to say what was decided here.</summary>
    public void ResolveForwardPassTrace(ConfigurationDraft draft)
    {
        var enabled = draft.Options.Get(RuntimeOptions.FpmTrace);
        var raw = Variable(TraceVariable);
        if (!enabled && raw is null)
        {
            return;
        }

        if (!enabled && !TraceWords.Contains(raw!.Trim().ToLowerInvariant()) && !IsSet(MetricsPortVariable))
        {
            draft.Warnings.Add(
                $"Invalid {TraceVariable} value {Quote(raw)}; expected one of 1/0, true/false, on/off, or yes/no. "
                    + "FPM tracing is disabled for this worker."
            );
        }

        draft.Environment[TraceVariable] = enabled ? "1" : "0";
    }

    public void CheckRuntimeOptions(OptionValues options)
    {
        var invalid = options
            .Get(RuntimeOptions.OutputModalities)
            .Select(word => word.ToLowerInvariant())
            .Where(word => !Modalities.Contains(word))
            .ToList();
        Refuse(
            invalid.Count > 0,
            $"Invalid output modality: {string.Join(", ", invalid)}. Valid options are: {string.Join(", ", Modalities)}"
        );
        Refuse(
            options.Get(RuntimeOptions.EngineRequestLimit) <= 0,
            $"--engine-request-limit must be a positive integer, got {options.Get(RuntimeOptions.EngineRequestLimit)}"
        );
        Refuse(
            options.Get(RuntimeOptions.TcpTlsHandshakeTimeoutSeconds) <= 0,
            $"--tcp-tls-handshake-timeout must be a positive integer, got {options.Get(RuntimeOptions.TcpTlsHandshakeTimeoutSeconds)}"
        );
    }

    public string? ResolveTemplate(string? given)
    {
        if (given is null)
        {
            return null;
        }

        var path = PathExpansion.Expand(given, Facts.Environment);
        Refuse(
            !Facts.FileExists(path),
            $"Custom Jinja template file not found: {path}. Please ensure the file exists and the path is correct."
        );
        return path;
    }
}
