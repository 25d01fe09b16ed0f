using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Servers;
using Dynamo.Vllm.Transports.Otlp;
using Dynamo.Vllm.UnitTests.Worker.Configuration;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Telemetry;

namespace Dynamo.Vllm.UnitTests.Worker.Telemetry;

/// <summary>OpenTelemetry's variables, read as the official worker reads them.</summary>
public sealed class OtlpSettingsTests
{
    private readonly List<string> _warnings = [];

    [Theory]
    [InlineData("")]
    [InlineData("OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4317")]
    [InlineData("OTEL_METRICS_EXPORTER=none;OTEL_EXPORT_ENABLED=1;OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4317")]
    [InlineData("OTEL_METRICS_EXPORTER=prometheus")]
    [InlineData("OTEL_METRICS_EXPORTER=otlp,console")]
    public void Metrics_go_out_only_where_the_exporter_is_otlp(string variables) => Assert.Null(Read(variables));

    [Theory]
    [InlineData("", "http://localhost:4317/", OtlpProtocol.Grpc)]
    [InlineData(
        "OTEL_EXPORTER_OTLP_ENDPOINT=http://c:1;OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=https://m:2",
        "https://m:2/",
        OtlpProtocol.Grpc
    )]
    [InlineData("OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", "http://localhost:4318/v1/metrics", OtlpProtocol.HttpProtobuf)]
    [InlineData(
        "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf;OTEL_EXPORTER_OTLP_ENDPOINT=https://c/otlp/",
        "https://c/otlp/v1/metrics",
        OtlpProtocol.HttpProtobuf
    )]
    [InlineData(
        "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=http/protobuf;OTEL_EXPORTER_OTLP_PROTOCOL=grpc;"
            + "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=https://c/m?k=v",
        "https://c/m?k=v",
        OtlpProtocol.HttpProtobuf
    )]
    public void Addresses_and_protocols_have_their_order(string variables, string endpoint, OtlpProtocol protocol)
    {
        var (options, interval) = Read($"OTEL_METRICS_EXPORTER=OTLP;{variables}")!.Value;

        Assert.Equal(new Uri(endpoint), options.Endpoint);
        Assert.Equal(protocol, options.Protocol);
        Assert.Equal(TimeSpan.FromMinutes(1), interval);
        Assert.Equal(["service.name=dynamo"], Text(options.Resource));
        Assert.Empty(_warnings);
    }

    [Theory]
    [InlineData("OTEL_EXPORTER_OTLP_PROTOCOL=http/json", "OTEL_EXPORTER_OTLP_PROTOCOL=http/json is not supported")]
    [InlineData("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=x", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=x is not supported")]
    [InlineData("OTEL_EXPORTER_OTLP_ENDPOINT=c:4317", "OTEL_EXPORTER_OTLP_ENDPOINT is not an address")]
    [InlineData("OTEL_EXPORTER_OTLP_ENDPOINT=ftp://c:4317", "OTEL_EXPORTER_OTLP_ENDPOINT is not an address")]
    [InlineData("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=http://me:secret@c", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT is not an address")]
    public void What_cannot_be_used_is_named_without_its_secrets(string variables, string problem)
    {
        var exception = Assert.Throws<ConfigurationException>(() => Read($"OTEL_METRICS_EXPORTER=otlp;{variables}"));

        Assert.Contains(problem, exception.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("secret", exception.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("x")]
    [InlineData("0")]
    [InlineData("-5")]
    [InlineData("99")]
    [InlineData("86400001")]
    public void An_interval_outside_its_limits_is_the_default_with_a_warning(string text)
    {
        Assert.Equal(TimeSpan.FromMinutes(1), Read($"OTEL_METRICS_EXPORTER=otlp;OTEL_METRIC_EXPORT_INTERVAL={text}")!.Value.Interval);
        Assert.Contains("OTEL_METRIC_EXPORT_INTERVAL", Assert.Single(_warnings), StringComparison.Ordinal);
    }

    [Fact]
    public void Headers_and_attributes_are_pairs_with_encoded_values()
    {
        var (options, _) = Read(
            "OTEL_METRICS_EXPORTER=otlp;OTEL_EXPORTER_OTLP_HEADERS=Authorization=Basic%20a==, x=1,=none,a b=2,k=%0A,text-bin=3;"
                + "OTEL_RESOURCE_ATTRIBUTES=service.name=other,a=c%20d,bad,=e,f=;OTEL_SERVICE_NAME=mine"
        )!.Value;

        Assert.Equal(["authorization=Basic a==", "x=1"], Text(options.Headers));
        Assert.Equal(["a=c d", "f=", "service.name=mine"], Text(options.Resource));
        Assert.Equal(4, _warnings.Count);
        Assert.All(_warnings, warning => Assert.DoesNotContain("none", warning, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("grpc", 0)]
    [InlineData("http/protobuf", 1)]
    public void A_name_that_grpc_does_not_take_is_left_out_there(string protocol, int count)
    {
        var (options, _) = Read(
            $"OTEL_METRICS_EXPORTER=otlp;OTEL_EXPORTER_OTLP_PROTOCOL={protocol};OTEL_EXPORTER_OTLP_HEADERS=x!y=secret"
        )!.Value;
        Assert.Equal(count, options.Headers.Count);
        Assert.Equal(1 - count, _warnings.Count);
        Assert.DoesNotContain("secret", string.Concat(_warnings), StringComparison.Ordinal);
    }

    [Fact]
    public void Headers_for_metrics_take_the_place_of_those_for_everything()
    {
        var (options, _) = Read("OTEL_METRICS_EXPORTER=otlp;OTEL_EXPORTER_OTLP_HEADERS=a=1;OTEL_EXPORTER_OTLP_METRICS_HEADERS=b=2")!.Value;
        Assert.Equal(["b=2"], Text(options.Headers));
    }

    [Theory]
    [InlineData("", false)]
    [InlineData("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://c:4317;DYN_LOGGING_JSONL=1", false)]
    [InlineData("OTEL_EXPORT_ENABLED=0", false)]
    [InlineData("OTEL_EXPORT_ENABLED=1", true)]
    [InlineData("OTEL_EXPORT_ENABLED=true", true)]
    public void Traces_go_out_only_where_the_export_is_enabled(string variables, bool isOn) =>
        Assert.Equal(isOn, OtlpSettings.ReadTraces(Reader(variables)) is not null);

    [Fact]
    public void Traces_have_their_own_address_headers_and_limits()
    {
        var (options, limits, _) = OtlpSettings
            .ReadTraces(
                Reader(
                    "OTEL_EXPORT_ENABLED=1;OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf;OTEL_EXPORTER_OTLP_ENDPOINT=http://c/o;"
                        + "OTEL_EXPORTER_OTLP_HEADERS=a=1;OTEL_EXPORTER_OTLP_TRACES_HEADERS=b=2;OTEL_BSP_MAX_QUEUE_SIZE=100"
                )
            )!
            .Value;
        Assert.Equal(new Uri("http://c/o/v1/traces"), options.Endpoint);
        Assert.Equal(["b=2"], Text(options.Headers));
        Assert.Equal(TimeSpan.FromSeconds(10), options.Timeout);
        Assert.Equal(
            new BatchLimits
            {
                Queued = 100,
                Batch = 100,
                Delay = TimeSpan.FromSeconds(5),
            },
            limits
        );
    }

    [Fact]
    public void Logs_go_where_traces_go_unless_they_have_an_address_and_limits_of_their_own()
    {
        Assert.Null(OtlpSettings.ReadLogs(Reader("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=http://c:1")));
        Assert.Null(OtlpSettings.LogsQueued(Reader("OTEL_BLRP_MAX_QUEUE_SIZE=7")));
        var usual = OtlpSettings.ReadLogs(Reader("OTEL_EXPORT_ENABLED=1;OTEL_EXPORTER_OTLP_ENDPOINT=http://c:1"))!.Value;
        Assert.Equal(new Uri("http://c:1"), usual.Options.Endpoint);
        Assert.Equal(new BatchLimits { Delay = TimeSpan.FromSeconds(1) }, usual.Limits);

        var reader = Reader(
            "OTEL_EXPORT_ENABLED=1;OTEL_EXPORTER_OTLP_ENDPOINT=http://c:1;OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=http://l/x;"
                + "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL=http/protobuf;OTEL_BLRP_MAX_QUEUE_SIZE=7;OTEL_BLRP_SCHEDULE_DELAY=300"
        );
        var (options, limits) = OtlpSettings.ReadLogs(reader)!.Value;
        Assert.Equal((new Uri("http://l/x"), OtlpProtocol.HttpProtobuf), (options.Endpoint, options.Protocol));
        Assert.Equal((7, 7, 300), (limits.Queued, limits.Batch, (int)limits.Delay.TotalMilliseconds));
        Assert.Equal(7, OtlpSettings.LogsQueued(reader));
    }

    [Theory]
    [InlineData("OTEL_EXPORTER_OTLP_TIMEOUT=2000", 2000, 2000)]
    [InlineData("OTEL_EXPORTER_OTLP_TIMEOUT=2000;OTEL_EXPORTER_OTLP_METRICS_TIMEOUT=3000", 3000, 2000)]
    [InlineData("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT=4000", 10000, 4000)]
    public void A_time_limit_may_be_of_one_signal_or_of_both(string variables, int metrics, int traces)
    {
        var reader = Reader($"OTEL_METRICS_EXPORTER=otlp;OTEL_EXPORT_ENABLED=1;{variables}");
        Assert.Equal(metrics, OtlpSettings.Read(reader)!.Value.Options.Timeout.TotalMilliseconds);
        Assert.Equal(traces, OtlpSettings.ReadTraces(reader)!.Value.Options.Timeout.TotalMilliseconds);
        Assert.Empty(reader.Warnings);
    }

    [Fact]
    public void A_certificate_that_cannot_be_used_is_named()
    {
        using var folder = new TemporaryFolder();
        using var authority = new TestCertificates();
        var good = folder.Write("good.pem", authority.Authority);
        foreach (var bad in (string[])[folder.Write("bad.pem", "x"), "/nowhere/ca.pem"])
        {
            var reader = Reader(
                $"OTEL_METRICS_EXPORTER=otlp;OTEL_EXPORT_ENABLED=1;OTEL_EXPORTER_OTLP_CERTIFICATE={good};"
                    + $"OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE={bad}"
            );
            var exception = Assert.Throws<ConfigurationException>(() => OtlpSettings.Read(reader));
            Assert.StartsWith("OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE", exception.Message, StringComparison.Ordinal);
            Assert.Single(OtlpSettings.ReadTraces(reader)!.Value.Options.Authorities!);
        }
    }

    [Fact]
    public void The_page_of_variables_names_them()
    {
        var page = File.ReadAllText(Path.Combine(SimulatedPaths.Root, "docs", "configuration.md"));
        string[] variables =
        [
            "OTEL_METRICS_EXPORTER",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
            "OTEL_EXPORTER_OTLP_HEADERS",
            "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
            "OTEL_METRIC_EXPORT_INTERVAL",
            "OTEL_EXPORT_ENABLED",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
            "OTEL_EXPORTER_OTLP_TIMEOUT",
            "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT",
            "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
            "OTEL_EXPORTER_OTLP_CERTIFICATE",
            "OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE",
            "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
            "OTEL_TRACES_SAMPLE_RATIO",
            "OTEL_TRACES_SAMPLER",
            "OTEL_TRACES_SAMPLER_ARG",
            "OTEL_BSP_SCHEDULE_DELAY",
            "OTEL_BSP_MAX_QUEUE_SIZE",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
            "OTEL_SERVICE_NAME",
            "OTEL_RESOURCE_ATTRIBUTES",
        ];
        Assert.All(variables, variable => Assert.Contains($"`{variable}`", page, StringComparison.Ordinal));
    }

    private static EnvironmentReader Reader(string variables)
    {
        var environment = variables
            .Split(';', StringSplitOptions.RemoveEmptyEntries)
            .Select(variable => variable.Split('=', 2))
            .ToDictionary(pair => pair[0], pair => pair[1]);
        return new EnvironmentReader(environment, CommandLineSample.Parse().Options);
    }

    private (OtlpOptions Options, TimeSpan Interval)? Read(string variables)
    {
        var reader = Reader(variables);
        var settings = OtlpSettings.Read(reader);
        _warnings.AddRange(reader.Warnings);
        return settings;
    }

    private static IEnumerable<string> Text(IEnumerable<KeyValuePair<string, string>> pairs) =>
        pairs.Select(pair => $"{pair.Key}={pair.Value}");
}
