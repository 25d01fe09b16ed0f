using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Telemetry;

namespace Dynamo.Vllm.PythonTests;

/// <summary>The whole worker sends its log to a collector, too, and serves whatever becomes of it there.</summary>
public sealed class LogsExportTests : SimulatedWorkerTests
{
    [Theory]
    [InlineData("grpc", "/opentelemetry.proto.collector.logs.v1.LogsService/Export")]
    [InlineData("http/protobuf", "/v1/logs")]
    public async Task All_lines_of_a_life_arrive_and_those_about_a_request_are_in_its_trace(string protocol, string path)
    {
        await using var collector = await OtlpReceiver.StartAsync();
        await using var worker = await StartAsync(
            environment: Variables(protocol == "grpc" ? collector.Grpc : collector.Http, ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol))
        );
        await using var client = await ConnectAsync();
        await using (var call = await client.CallAsync("{}"u8.ToArray(), default, "refused"))
        {
            await SingleAsync(call);
        }

        var refusal = await collector.LineAsync(line => line.Attributes.GetValueOrDefault("request_id") == "refused", Limit);
        Assert.Equal(
            (path, "dynamo", "Info INFO", "2008"),
            (refusal.Path, refusal.Service, refusal.Severity, refusal.Attributes["event_id"])
        );
        Assert.Equal("Dynamo.Vllm.Core.Requests.RequestDispatcher", refusal.Scope);
        Assert.True(refusal.Time > 0 && refusal.Time == refusal.Observed);
        var span = Assert.Single(await collector.SpansAsync(span => span.Name == "handle_payload", 1, Limit));
        Assert.Equal((span.Trace, span.Id), (refusal.Trace, refusal.Span));

        worker.Process.Signal("TERM");
        Assert.Equal(0, await worker.Process.ExitCodeAsync(Limit));
        var texts = collector.Lines.Select(line => line.Text).ToList();
        foreach (var wanted in (string[])["Ready: serving", "Logs are exported to", "Stopping"])
        {
            Assert.Single(texts, text => text.StartsWith(wanted, StringComparison.Ordinal));
        }

        // All that was written up to the last export, in the same order.
        var written = worker.Process.Lines.Where(line => line.Contains(" Dynamo.Vllm.", StringComparison.Ordinal)).ToList();
        Assert.True(texts.Count >= written.Count - 3, $"{texts.Count} of {written.Count} lines");
        Assert.DoesNotContain(collector.Lines, line => line.Text.Length > 0 && line.Trace.Length > 0 && line != refusal);
    }

    [Theory]
    [InlineData(OtlpBehaviour.Refuses, "failed")]
    [InlineData(OtlpBehaviour.Hangs, "dropped")]
    public async Task A_collector_that_takes_nothing_costs_one_line_and_the_records(OtlpBehaviour behaviour, string outcome)
    {
        await using var collector = await OtlpReceiver.StartAsync(behaviour);
        await using var worker = await StartAsync(
            environment: Variables(collector.Grpc, ("OTEL_BLRP_MAX_QUEUE_SIZE", "3"), ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "600000"))
        );
        await using var client = await ConnectAsync();
        for (var i = 0; i < 10; i++)
        {
            await using var call = await client.CallAsync("{}"u8.ToArray(), default, $"refused-{i}");
            await SingleAsync(call);
        }

        await Polling.UntilAsync(
            $"no record {outcome}",
            Limit,
            async () => await worker.MetricAsync("dynamo_vllm_log_records_total", outcome) > 0,
            () => worker.Process.Tail
        );
        worker.Process.Signal("TERM");
        Assert.Equal(0, await worker.Process.ExitCodeAsync(Limit));
        var complaints = worker.Process.Lines.Count(line => line.Contains("Logs cannot be exported", StringComparison.Ordinal));
        Assert.Equal(behaviour == OtlpBehaviour.Refuses ? 1 : 0, complaints);
    }

    [Fact]
    public async Task What_cannot_be_used_is_said_once_and_the_worker_serves()
    {
        await using var worker = await StartAsync(
            environment: Variables("http://127.0.0.1:1", ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "http/json"))
        );
        Assert.Single(
            worker.Process.Lines,
            line => line.Contains("Logs are not exported over OTLP: OTEL_EXPORTER_OTLP_LOGS_PROTOCOL=http/json", StringComparison.Ordinal)
        );
        await using var client = await ConnectAsync();
        await using var call = await client.CallAsync(Body(1, 5), default);
        Assert.Equal(5, await CountAsync(call));
    }

    private static Dictionary<string, string> Variables(string endpoint, params (string Name, string Value)[] more)
    {
        var variables = new Dictionary<string, string>
        {
            ["OTEL_EXPORT_ENABLED"] = "1",
            ["OTEL_EXPORTER_OTLP_ENDPOINT"] = endpoint,
            ["OTEL_BSP_SCHEDULE_DELAY"] = "100",
            ["OTEL_BLRP_SCHEDULE_DELAY"] = "100",
        };
        foreach (var (name, value) in more)
        {
            variables[name] = value;
        }

        return variables;
    }
}
