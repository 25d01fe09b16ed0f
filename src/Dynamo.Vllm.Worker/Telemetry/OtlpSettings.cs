using System.Text;
using Dynamo.Vllm.Transports.Otlp;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Help;

namespace Dynamo.Vllm.Worker.Telemetry;

/// <summary>What OpenTelemetry's variables say of metrics, traces and logs, read as the official worker reads them.</summary>
/// <remarks>
/// Metrics go out only with <c>OTEL_METRICS_EXPORTER=otlp</c>, traces and logs only with <c>OTEL_EXPORT_ENABLED</c>: an address alone turns
/// none on. What cannot be used leaves the export off and the worker serving.
/// </remarks>
internal static class OtlpSettings
{
    private const string GrpcDefault = "http://localhost:4317";
    private const string HttpDefault = "http://localhost:4318";
    private const int IntervalDefault = 60_000;

    /// <summary>More often than that the export itself is the load.</summary>
    private const int IntervalMin = 100;

    private const int IntervalMax = 86_400_000;

    /// <summary>Between two exports, in milliseconds; OpenTelemetry's own defaults.</summary>
    private const int SpanDelay = 5000;

    private const int LogDelay = 1000;

    private const int TimeoutDefault = 10_000;
    private const int TimeoutMax = 600_000;

    /// <summary>Of metrics.</summary>
    /// <param name="reader">Also takes what had to be replaced or left out, in sentences.</param>
    /// <returns>Null where metrics are not to be exported.</returns>
    /// <exception cref="ConfigurationException">They are to be, and cannot.</exception>
    public static (OtlpOptions Options, TimeSpan Interval)? Read(EnvironmentReader reader)
    {
        if (!string.Equals(reader.Text("OTEL_METRICS_EXPORTER"), "otlp", StringComparison.OrdinalIgnoreCase))
        {
            return null;
        }

        var interval = reader.Integer("OTEL_METRIC_EXPORT_INTERVAL", IntervalDefault, IntervalMin, IntervalMax);
        return (Options(reader, "METRICS"), TimeSpan.FromMilliseconds(interval));
    }

    /// <summary>Of traces.</summary>
    /// <param name="reader">Also takes what had to be replaced or left out, in sentences.</param>
    /// <returns>Null where traces are not to be exported.</returns>
    /// <exception cref="ConfigurationException">They are to be, and cannot.</exception>
    public static (OtlpOptions Options, BatchLimits Limits, SpanSampler Sampler)? ReadTraces(EnvironmentReader reader) =>
        IsEnabled(reader) ? (Options(reader, "TRACES"), Limits(reader, "OTEL_BSP", SpanDelay), SpanSampler.Read(reader)) : null;

    /// <summary>Of logs.</summary>
    /// <param name="reader">Also takes what had to be replaced or left out, in sentences.</param>
    /// <returns>Null where logs are not to be exported.</returns>
    /// <exception cref="ConfigurationException">They are to be, and cannot.</exception>
    public static (OtlpOptions Options, BatchLimits Limits)? ReadLogs(EnvironmentReader reader) =>
        IsEnabled(reader) ? (Options(reader, "LOGS"), LogLimits(reader)) : null;

    /// <summary>How many lines of the log may wait for their export; null where they are not to be exported.</summary>
    public static int? LogsQueued(EnvironmentReader reader) => IsEnabled(reader) ? LogLimits(reader).Queued : null;

    private static bool IsEnabled(EnvironmentReader reader) => reader.Flag("OTEL_EXPORT_ENABLED");

    private static BatchLimits LogLimits(EnvironmentReader reader) => Limits(reader, "OTEL_BLRP", LogDelay);

    private static BatchLimits Limits(EnvironmentReader reader, string prefix, int delay)
    {
        var queued = reader.Integer(prefix + "_MAX_QUEUE_SIZE", 2048, 1, 1 << 20);
        return new BatchLimits
        {
            Queued = queued,
            Batch = Math.Min(queued, reader.Integer(prefix + "_MAX_EXPORT_BATCH_SIZE", 512, 1, 1 << 16)),
            Delay = TimeSpan.FromMilliseconds(reader.Integer(prefix + "_SCHEDULE_DELAY", delay, IntervalMin, IntervalMax)),
        };
    }

    private static OtlpOptions Options(EnvironmentReader reader, string signal)
    {
        var protocol = Protocol(reader, signal);
        return new OtlpOptions
        {
            Endpoint = Endpoint(reader, signal, protocol),
            Protocol = protocol,
            Headers = Headers(reader, signal, protocol),
            Authorities = Authorities(reader, signal),
            Timeout = TimeSpan.FromMilliseconds(
                reader.Integer(First(reader, signal, "TIMEOUT").Variable, TimeoutDefault, IntervalMin, TimeoutMax)
            ),
            Resource = Resource(reader),
            ScopeVersion = ProgramIdentity.DynamoVersion,
        };
    }

    private static OtlpProtocol Protocol(EnvironmentReader reader, string signal)
    {
        var (variable, text) = First(reader, signal, "PROTOCOL");
        return text switch
        {
            null or "grpc" => OtlpProtocol.Grpc,
            "http/protobuf" => OtlpProtocol.HttpProtobuf,
            _ => throw new ConfigurationException(
                $"{variable}={text} is not supported for {Words(signal)}; 'grpc' and 'http/protobuf' are"
            ),
        };
    }

    private static Uri Endpoint(EnvironmentReader reader, string signal, OtlpProtocol protocol)
    {
        var isHttp = protocol == OtlpProtocol.HttpProtobuf;
        var (variable, text) = First(reader, signal, "ENDPOINT");
        text ??= isHttp ? HttpDefault : GrpcDefault;
        if (
            !Uri.TryCreate(text, UriKind.Absolute, out var address)
            || address.Scheme is not ("http" or "https")
            || address.UserInfo.Length > 0
        )
        {
            // Its text is not repeated: it may hold a password.
            throw new ConfigurationException($"{variable} is not an address of the form http://host:port or https://host:port");
        }

        // The variable of the signal is the whole address, the one for everything the base of all three.
        var isBase = !variable.Contains(signal, StringComparison.Ordinal);
        return isHttp && isBase ? new Uri($"{address.GetLeftPart(UriPartial.Path).TrimEnd('/')}/v1/{Words(signal)}") : address;
    }

    private static System.Security.Cryptography.X509Certificates.X509Certificate2Collection? Authorities(
        EnvironmentReader reader,
        string signal
    )
    {
        var (variable, path) = First(reader, signal, "CERTIFICATE");
        try
        {
            return path is null ? null : OtlpOptions.LoadAuthorities(path, variable);
        }
        catch (InvalidOperationException exception)
        {
            throw new ConfigurationException(exception.Message);
        }
    }

    private static List<KeyValuePair<string, string>> Headers(EnvironmentReader reader, string signal, OtlpProtocol protocol)
    {
        var (variable, text) = First(reader, signal, "HEADERS");
        var headers = new List<KeyValuePair<string, string>>();
        foreach (var (name, value) in Pairs(text))
        {
            if (IsHeader(name, value) && (protocol != OtlpProtocol.Grpc || IsMetadata(name)))
            {
                headers.Add(new(name.ToLowerInvariant(), value));
            }
            else
            {
                reader.Warnings.Add(
                    $"{variable}: an entry that is no header was left out ({Encoding.UTF8.GetByteCount(name + value)} bytes)"
                );
            }
        }

        return headers;
    }

    private static bool IsHeader(string name, string value)
    {
        using var message = new HttpRequestMessage();
        return Ascii.IsValid(value)
            && !value.Any(char.IsControl)
            && message.Headers.TryAddWithoutValidation(name, value)
            && !name.EndsWith("-bin", StringComparison.OrdinalIgnoreCase);
    }

    /// <summary>gRPC takes fewer names than HTTP, and would refuse each call for the sake of one of them.</summary>
    private static bool IsMetadata(string name) =>
        name.All(character => char.IsAsciiLetterOrDigit(character) || character is '_' or '-' or '.');

    private static List<KeyValuePair<string, string>> Resource(EnvironmentReader reader)
    {
        var attributes = Pairs(reader.Text("OTEL_RESOURCE_ATTRIBUTES")).Where(pair => pair.Key is not ("" or "service.name")).ToList();
        attributes.Add(new("service.name", reader.Text("OTEL_SERVICE_NAME") ?? "dynamo"));
        return attributes;
    }

    /// <summary>"a=1,b=2%20c", values percent-encoded as OpenTelemetry says. The name is empty in an entry without one.</summary>
    private static IEnumerable<KeyValuePair<string, string>> Pairs(string? text) =>
        from entry in (text ?? "").Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)
        let sign = entry.IndexOf('=', StringComparison.Ordinal)
        where sign >= 0
        select KeyValuePair.Create(entry[..sign].Trim(), Uri.UnescapeDataString(entry[(sign + 1)..].Trim()));

    /// <summary>The variable of the signal, or else the one for all of them.</summary>
    private static (string Variable, string? Text) First(EnvironmentReader reader, string signal, string name)
    {
        var (special, general) = ($"OTEL_EXPORTER_OTLP_{signal}_{name}", $"OTEL_EXPORTER_OTLP_{name}");
        return reader.Text(special) is { } text ? (special, text.Trim()) : (general, reader.Text(general)?.Trim());
    }

    private static string Words(string signal) => signal.ToLowerInvariant();
}
