using System.Diagnostics;
using System.Globalization;
using System.Security.Cryptography.X509Certificates;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Servers;
using Dynamo.Vllm.Testing.Telemetry;

namespace Dynamo.Vllm.PythonTests;

/// <summary>The whole worker sends the spans of its requests to a collector, and to one that is absent, slow or hostile.</summary>
public sealed class TracesExportTests : SimulatedWorkerTests
{
    [Theory]
    [InlineData("grpc")]
    [InlineData("http/protobuf")]
    public async Task A_request_is_a_span_and_the_engine_s_part_one_within_it(string protocol)
    {
        await using var collector = await OtlpReceiver.StartAsync();
        await using var worker = await StartAsync(
            environment: Variables(
                protocol == "grpc" ? collector.Grpc : collector.Http,
                ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
                ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "authorization=Basic%20a=="),
                ("OTEL_SERVICE_NAME", "llm")
            )
        );
        await using var client = await ConnectAsync();
        await using (var call = await client.CallAsync(Body(1, 5), default, "request-1"))
        {
            Assert.Equal(5, await CountAsync(call));
        }

        var spans = await collector.SpansAsync(_ => true, 2, Limit);
        var request = Assert.Single(spans, span => span.Name == "handle_payload");
        var engine = Assert.Single(spans, span => span.Name == "engine.generate");
        Assert.Equal(protocol == "grpc" ? "/opentelemetry.proto.collector.trace.v1.TraceService/Export" : "/v1/traces", request.Path);
        Assert.Equal("Basic a==", request.Headers["authorization"]);
        Assert.Equal("llm", request.Service);
        Assert.Equal(("Server", "", false, "Unset"), (request.Kind, request.Parent, request.IsParentRemote, request.Status));
        Assert.Equal("request-1", request.Attributes["request_id"]);
        Assert.Equal("dynamo", request.Attributes["namespace"]);
        Assert.Equal("backend", request.Attributes["component"]);
        Assert.Equal("generate", request.Attributes["endpoint"]);
        Assert.Equal(
            worker.Instance,
            ulong.Parse(request.Attributes["instance_id"], CultureInfo.InvariantCulture).ToString("x", CultureInfo.InvariantCulture)
        );
        Assert.Equal("finished", request.Attributes["outcome"]);
        Assert.Equal(("Internal", request.Id, request.Trace), (engine.Kind, engine.Parent, engine.Trace));
        Assert.Equal("agg", engine.Attributes["disagg_role"]);
        Assert.Equal("3", engine.Attributes["input_tokens"]);
        Assert.Equal("5", engine.Attributes["output_tokens"]);
        Assert.Equal("length", engine.Attributes["finish_reason"]);
        Assert.True(Number(engine, "ttft_ms") > 0 && Number(engine, "avg_itl_ms") > 0 && Number(engine, "queue_ms") >= 0);
        Assert.True(request.Start <= engine.Start && engine.Start < engine.End && engine.End <= request.End);
    }

    [Fact]
    public async Task Whatever_becomes_of_a_request_its_spans_end_once()
    {
        await using var collector = await OtlpReceiver.StartAsync();
        await using var worker = await StartAsync(
            ["--drain-timeout", "0"],
            environment: Variables(collector.Grpc, ("OTEL_BSP_SCHEDULE_DELAY", "3600000"))
        );
        await using var client = await ConnectAsync();
        await using (var call = await client.CallAsync(Body(1, 3), default, "finished"))
        {
            await CountAsync(call);
        }

        await using (var call = await client.CallAsync("{}"u8.ToArray(), default, "refused"))
        {
            await SingleAsync(call);
        }

        await using (var call = await client.CallAsync(Body(2, 500), default, "cancelled"))
        {
            await FirstAsync(call);
            await call.KillAsync(default);
        }

        await using var last = await client.CallAsync(Body(3, 500), default, "aborted");
        await FirstAsync(last);
        worker.Process.Signal("TERM");
        Assert.Equal(0, await worker.Process.ExitCodeAsync(Limit));

        // The delay had not passed: they were sent at the stop.
        var spans = collector.Spans;
        var ends = spans
            .Where(span => span.Name == "handle_payload")
            .ToDictionary(span => span.Attributes["request_id"], span => $"{span.Attributes["outcome"]} {span.Status}");
        Assert.Equal(
            new Dictionary<string, string>
            {
                ["finished"] = "finished Unset",
                ["refused"] = "failed Error backend.invalid_argument",
                ["cancelled"] = "cancelled Unset",
                ["aborted"] = "handedback Error backend.engine_shutdown",
            },
            ends
        );
        var reasons = spans
            .Where(span => span.Name == "engine.generate")
            .ToDictionary(span => span.Attributes["request_id"], span => span.Attributes["finish_reason"]);
        Assert.Equal(
            new Dictionary<string, string>
            {
                ["finished"] = "length",
                ["cancelled"] = "cancelled",
                ["aborted"] = "error",
            },
            reasons
        );
    }

    [Fact]
    public async Task A_collector_that_is_not_there_costs_one_line_and_the_spans()
    {
        await using var worker = await StartAsync(environment: Variables("http://127.0.0.1:1"));
        await using var client = await ConnectAsync();
        for (var i = 0; i < 3; i++)
        {
            await using var call = await client.CallAsync(Body(i, 5), default);
            Assert.Equal(5, await CountAsync(call));
            await SpansAsync(worker, "failed", 2 * (i + 1));
        }

        Assert.Single(worker.Process.Lines, line => line.Contains("Traces cannot be exported", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_collector_that_never_answers_holds_up_neither_requests_nor_the_stop_and_a_full_queue_drops()
    {
        await using var collector = await OtlpReceiver.StartAsync(OtlpBehaviour.Hangs);
        await using var worker = await StartAsync(
            environment: Variables(collector.Grpc, ("OTEL_BSP_MAX_QUEUE_SIZE", "2"), ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "600000"))
        );
        await using var client = await ConnectAsync();
        for (var i = 0; i < 10; i++)
        {
            await using var call = await client.CallAsync(Body(i, 5), default);
            Assert.Equal(5, await CountAsync(call));
        }

        await SpansAsync(worker, "dropped", 10);
        var stopping = Stopwatch.GetTimestamp();
        worker.Process.Signal("TERM");
        Assert.Equal(0, await worker.Process.ExitCodeAsync(Limit));
        Assert.True(Stopwatch.GetElapsedTime(stopping) < TimeSpan.FromSeconds(8));
    }

    [Fact]
    public async Task A_collector_with_a_certificate_of_its_own_is_trusted_where_a_file_says_so()
    {
        using var authority = new TestCertificates();
        using var folder = new TemporaryFolder();
        var (certificate, key) = authority.Issue("collector");
        using var pair = X509Certificate2.CreateFromPem(certificate, key);
        using var usable = X509CertificateLoader.LoadPkcs12(pair.Export(X509ContentType.Pkcs12), null);
        await using var collector = await OtlpReceiver.StartAsync(certificate: usable);
        var address = collector.Grpc.Replace("http:", "https:", StringComparison.Ordinal);
        await using (var worker = await StartAsync(environment: Variables(address)))
        {
            await RunAsync();
            await worker.Process.LineAsync("Traces cannot be exported", Limit);
            worker.Process.Signal("TERM");
            Assert.Equal(0, await worker.Process.ExitCodeAsync(Limit));
        }

        await using var trusting = await StartAsync(
            environment: Variables(address, ("OTEL_EXPORTER_OTLP_CERTIFICATE", folder.Write("ca.pem", authority.Authority)))
        );
        await RunAsync();
        Assert.Equal(2, (await collector.SpansAsync(_ => true, 2, Limit)).Count);
    }

    [Fact]
    public async Task An_address_alone_does_not_turn_traces_on()
    {
        await using var collector = await OtlpReceiver.StartAsync();
        await using var worker = await StartAsync(environment: Variables(collector.Grpc, ("OTEL_EXPORT_ENABLED", "0")));
        await RunAsync();
        worker.Process.Signal("TERM");
        Assert.Equal(0, await worker.Process.ExitCodeAsync(Limit));
        Assert.Equal(0, collector.Requests);
    }

    private async Task RunAsync()
    {
        await using var client = await ConnectAsync();
        await using var call = await client.CallAsync(Body(1, 5), default);
        Assert.Equal(5, await CountAsync(call));
    }

    private static double Number(OtlpSpan span, string name) => double.Parse(span.Attributes[name], CultureInfo.InvariantCulture);

    private static Task SpansAsync(WorkerProcess worker, string outcome, int count) =>
        Polling.UntilAsync(
            $"not {count} spans {outcome}",
            Limit,
            async () => await worker.MetricAsync("dynamo_vllm_spans_total", outcome) >= count,
            () => worker.Process.Tail
        );

    private static Dictionary<string, string> Variables(string endpoint, params (string Name, string Value)[] more)
    {
        var variables = new Dictionary<string, string>
        {
            ["OTEL_EXPORT_ENABLED"] = "1",
            ["OTEL_EXPORTER_OTLP_ENDPOINT"] = endpoint,
            ["OTEL_BSP_SCHEDULE_DELAY"] = "100",
        };
        foreach (var (name, value) in more)
        {
            variables[name] = value;
        }

        return variables;
    }
}
