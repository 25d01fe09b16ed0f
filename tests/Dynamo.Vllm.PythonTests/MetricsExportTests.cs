using System.Diagnostics;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Telemetry;

namespace Dynamo.Vllm.PythonTests;

/// <summary>The whole worker sends its metrics to a collector, and to one that is absent, slow or hostile.</summary>
public sealed class MetricsExportTests : SimulatedWorkerTests
{
    [Theory]
    [InlineData("grpc")]
    [InlineData("http/protobuf")]
    public async Task A_collector_gets_what_the_page_shows(string protocol)
    {
        await using var collector = await OtlpReceiver.StartAsync();
        await using var worker = await StartAsync(
            environment: Variables(
                protocol == "grpc" ? collector.Grpc : collector.Http,
                ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
                ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20a==,x-tenant=t"),
                ("OTEL_RESOURCE_ATTRIBUTES", "deployment=blue"),
                ("OTEL_SERVICE_NAME", "llm")
            )
        );
        await using var client = await ConnectAsync();
        await using var call = await client.CallAsync(Body(1, 5), default);
        Assert.Equal(5, await CountAsync(call));

        var export = await collector.ExportAsync(
            export => Value(export, "vllm:generation_tokens") >= 5 && Value(export, "dynamo_vllm_requests_ended_total") >= 1,
            Limit
        );
        var page = await worker.Http.GetStringAsync("/metrics");

        Assert.Equal(protocol == "grpc" ? "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" : "/v1/metrics", export.Path);
        Assert.Equal("Basic a==", export.Headers["authorization"]);
        Assert.Equal("t", export.Headers["x-tenant"]);
        Assert.Equal(["deployment=blue", "service.name=llm"], export.Resource);
        Assert.Equal("dynamo.runtime.metrics 1.6.1", export.Scope);
        var shown = page.Split('\n')
            .Where(line => line.StartsWith("dynamo_", StringComparison.Ordinal))
            .Select(line => line.Split('{', ' ')[0]);
        Assert.All(shown, name => Assert.Contains(Family(name), export.Families.Keys));
        var duration = export.Families["dynamo_component_request_duration_seconds"];
        Assert.Equal("Histogram Cumulative", duration.Kind);
        Assert.Equal("Time spent processing requests by work handler", duration.Description);
        Assert.All(duration.Series, series => Assert.Equal(18, series.Buckets.Count));
        Assert.All(duration.Series, series => Assert.Equal(series.Count, (ulong)series.Buckets.Sum(bucket => (long)bucket)));
        Assert.Contains(duration.Series, series => series.Count == 1 && series.Labels.Contains("dynamo_endpoint=generate"));
        Assert.Contains(duration.Series, series => series.Count == 0);
    }

    [Fact]
    public async Task The_last_numbers_are_sent_at_the_stop()
    {
        await using var collector = await OtlpReceiver.StartAsync();
        await using var worker = await StartAsync(environment: Variables(collector.Grpc, ("OTEL_METRIC_EXPORT_INTERVAL", "3600000")));
        await using var client = await ConnectAsync();
        await using var call = await client.CallAsync(Body(1, 5), default);
        await CountAsync(call);

        worker.Process.Signal("TERM");
        Assert.Equal(0, await worker.Process.ExitCodeAsync(Limit));

        Assert.Equal(2, collector.Exports.Count);
        Assert.Equal(1, Value(collector.Exports[1], "dynamo_component_requests_total"));
    }

    [Theory]
    [InlineData(OtlpBehaviour.Refuses, "grpc")]
    [InlineData(OtlpBehaviour.Refuses, "http/protobuf")]
    [InlineData(OtlpBehaviour.RejectsPoints, "grpc")]
    [InlineData(OtlpBehaviour.Floods, "grpc")]
    [InlineData(OtlpBehaviour.Floods, "http/protobuf")]
    [InlineData(OtlpBehaviour.Redirects, "http/protobuf")]
    public async Task A_collector_that_does_not_take_them_costs_one_line(OtlpBehaviour behaviour, string protocol)
    {
        await using var collector = await OtlpReceiver.StartAsync(behaviour);
        await using var worker = await StartAsync(
            environment: Variables(protocol == "grpc" ? collector.Grpc : collector.Http, ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol))
        );
        await FailuresAsync(worker, 5);
        Assert.Single(worker.Process.Lines, line => line.Contains("Metrics cannot be exported", StringComparison.Ordinal));

        collector.Behaviour = OtlpBehaviour.Accepts;
        await worker.Process.LineAsync("again, after", Limit);
        await collector.ExportAsync(export => Value(export, "dynamo_vllm_metric_exports_total", "outcome=failed") >= 5, Limit);
    }

    [Fact]
    public async Task A_collector_that_is_not_there_costs_one_line_and_no_time()
    {
        await using var worker = await StartAsync(environment: Variables("http://127.0.0.1:1"));
        await FailuresAsync(worker, 5);
        await using var client = await ConnectAsync();
        await using var call = await client.CallAsync(Body(1, 5), default);
        Assert.Equal(5, await CountAsync(call));
        Assert.Single(worker.Process.Lines, line => line.Contains("Metrics cannot be exported", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_collector_that_never_answers_holds_up_neither_requests_nor_the_stop()
    {
        await using var collector = await OtlpReceiver.StartAsync(OtlpBehaviour.Hangs);
        var worker = await StartAsync(environment: Variables(collector.Grpc));
        await using (worker)
        {
            await using var client = await ConnectAsync();
            await using var call = await client.CallAsync(Body(1, 5), default);
            Assert.Equal(5, await CountAsync(call));
            Assert.Equal(200, await worker.StatusAsync("/live"));
            Assert.Equal(1, collector.Requests);
            var stopping = Stopwatch.GetTimestamp();
            worker.Process.Signal("TERM");
            Assert.Equal(0, await worker.Process.ExitCodeAsync(Limit));
            Assert.True(Stopwatch.GetElapsedTime(stopping) < TimeSpan.FromSeconds(8));
        }
    }

    [Theory]
    [InlineData("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "OTEL_EXPORTER_OTLP_PROTOCOL=http/json is not supported")]
    [InlineData("OTEL_EXPORTER_OTLP_ENDPOINT", "nonsense", "OTEL_EXPORTER_OTLP_ENDPOINT is not an address")]
    public async Task What_cannot_be_used_is_said_and_the_worker_serves(string variable, string value, string problem)
    {
        await using var worker = await StartAsync(environment: Variables("http://127.0.0.1:1", (variable, value)));
        Assert.Single(worker.Process.Lines, line => line.Contains(problem, StringComparison.Ordinal));
        Assert.Equal(0, await worker.MetricAsync("dynamo_vllm_metric_exports_total"));
    }

    private static Task FailuresAsync(WorkerProcess worker, int count) =>
        Polling.UntilAsync(
            "exports do not fail",
            Limit,
            async () => await worker.MetricAsync("dynamo_vllm_metric_exports_total", "failed") >= count,
            () => worker.Process.Tail
        );

    private static double Value(OtlpExport export, string family, string label = "") =>
        export.Families.TryGetValue(family, out var found)
            ? found.Series.Where(series => label.Length == 0 || series.Labels.Contains(label)).Sum(series => series.Value)
            : 0;

    private static string Family(string sample)
    {
        foreach (var ending in (string[])["_bucket", "_sum", "_count"])
        {
            if (sample.EndsWith($"seconds{ending}", StringComparison.Ordinal))
            {
                return sample[..^ending.Length];
            }
        }

        return sample;
    }

    private static Dictionary<string, string> Variables(string endpoint, params (string Name, string Value)[] more)
    {
        var variables = new Dictionary<string, string>
        {
            ["OTEL_METRICS_EXPORTER"] = "otlp",
            ["OTEL_EXPORTER_OTLP_ENDPOINT"] = endpoint,
            ["OTEL_METRIC_EXPORT_INTERVAL"] = "100",
        };
        foreach (var (name, value) in more)
        {
            variables[name] = value;
        }

        return variables;
    }
}
