using System.Globalization;
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Telemetry;

namespace Dynamo.Vllm.PeerTests;

/// <summary>Spans of one of our workers and of the official one, in traces that begin at a client and pass the official frontend.</summary>
[Trait("Category", "Peers")]
public sealed class TracesTests : IDisposable
{
    private const string Client = "b7ad6b7169203331";

    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(5);

    /// <summary>Of the reference's logging library: places in its source, its threads, and how long it computed.</summary>
    private static readonly string[] OfOthers = ["busy_ns", "code.", "idle_ns", "thread."];

    private readonly TemporaryFolder _store = new();

    [PeerFact]
    public async Task A_request_has_the_official_worker_s_span_and_vLLM_s_own_spans_are_below_it()
    {
        await using var collector = await OtlpReceiver.StartAsync();
        var variables = new Dictionary<string, string>(Peers.Variables(_store.Path))
        {
            ["OTEL_EXPORT_ENABLED"] = "1",
            ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] = collector.Grpc,
            ["OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"] = collector.Grpc,
            ["OTEL_BSP_SCHEDULE_DELAY"] = "200",
            ["OTEL_BLRP_SCHEDULE_DELAY"] = "200",
        };
        await using var frontend = Frontend.Start(As("front", variables), "--router-mode", "round-robin");
        await using var ours = WorkerProcess.Start(
            _store.Path,
            ["--python", Peers.Python, .. Arguments(collector, "ours")],
            As("ours", variables)
        );
        await ours.ReadyAsync(Limit);
        await using var official = new ChildProcess(
            "official",
            Peers.Python,
            ["-m", "dynamo.vllm", .. Arguments(collector, "official")],
            new Dictionary<string, string>(As("official", variables))
            {
                ["DYN_SYSTEM_PORT"] = FreePorts.Next().ToString(CultureInfo.InvariantCulture),
            }
        );
        await frontend.ServesAsync("ours", Limit);
        await frontend.ServesAsync("official", Limit);

        const string mine = "1af7651916cd43dd8448eb211c80319c";
        const string itsTrace = "2af7651916cd43dd8448eb211c80319c";
        const string unsampled = "3af7651916cd43dd8448eb211c80319c";
        await AskAsync(frontend, "ours", unsampled, isSampled: false); // first: its spans would be there before the others'
        await AskAsync(frontend, "ours", mine, isSampled: true);
        await AskAsync(frontend, "official", itsTrace, isSampled: true);

        var our = await SpanAsync(collector, mine, "handle_payload");
        var theirs = await SpanAsync(collector, itsTrace, "handle_payload");
        Assert.Equal(
            (theirs.Kind, theirs.IsParentRemote, theirs.State, theirs.Status),
            (our.Kind, our.IsParentRemote, our.State, our.Status)
        );
        Assert.Equal(NamesOf(theirs), NamesOf(our).Where(name => name != "outcome"));
        foreach (var name in (string[])["target", "trace_flags", "x_request_id", "component", "endpoint", "namespace"])
        {
            Assert.Equal(theirs.Attributes[name], our.Attributes[name]);
        }

        foreach (var (span, trace) in ((OtlpSpan, string)[])[(our, mine), (theirs, itsTrace)])
        {
            Assert.Equal((trace, span.Parent), (span.Attributes["trace_id"], span.Attributes["parent_id"]));
            Assert.Equal((await SpanAsync(collector, trace, "router.route_request")).Id, span.Parent);
        }

        var engine = await SpanAsync(collector, mine, "engine.generate");
        Assert.Equal(our.Id, engine.Parent);
        Assert.Equal(
            ("ours", "agg", "4", "length"),
            (
                engine.Attributes["model"],
                engine.Attributes["disagg_role"],
                engine.Attributes["output_tokens"],
                engine.Attributes["finish_reason"]
            )
        );
        Assert.Equal(engine.Id, (await SpanAsync(collector, mine, "llm_request")).Parent);
        Assert.Equal(theirs.Id, (await SpanAsync(collector, itsTrace, "llm_request")).Parent);
        Assert.DoesNotContain(collector.Spans, span => span.Trace == unsampled);
        await LogsAsync(collector, frontend, itsTrace, theirs);
    }

    /// <summary>Both logs arrive in the same form; a line about a request is in the request's span.</summary>
    private static async Task LogsAsync(OtlpReceiver collector, Frontend frontend, string itsTrace, OtlpSpan itsSpan)
    {
        const string refused = "4af7651916cd43dd8448eb211c80319c";
        await AskAsync(frontend, "ours", refused, isSampled: true, isRefused: true);
        var line = await collector.LineAsync(line => line.Trace == refused && line.Service == "ours", Limit);
        Assert.Equal((await SpanAsync(collector, refused, "handle_payload")).Id, line.Span);
        Assert.Contains(" ended with ", line.Text, StringComparison.Ordinal);

        var its = await collector.LineAsync(line => line.Trace == itsTrace && line.Service == "official", Limit);
        Assert.Equal(itsSpan.Id, its.Span);
        Assert.Equal(its.Severity, line.Severity);
        Assert.Contains("request_id", its.Attributes.Keys);
        Assert.Contains("request_id", line.Attributes.Keys);
        foreach (var service in (string[])["ours", "official"])
        {
            // From before there was an engine, from where the worker serves, with the words of the reference.
            Assert.Contains(collector.Lines, line => line.Service == service && line.Severity == "Info INFO" && line.Trace.Length == 0);
        }
    }

    public void Dispose() => _store.Dispose();

    private static IEnumerable<string> Arguments(OtlpReceiver collector, string name) =>
        [.. Peers.EngineArguments, "--served-model-name", name, "--otlp-traces-endpoint", collector.Grpc];

    private static Dictionary<string, string> As(string service, Dictionary<string, string> variables) =>
        new(variables) { ["OTEL_SERVICE_NAME"] = service };

    private static IEnumerable<string> NamesOf(OtlpSpan span) =>
        span
            .Attributes.Keys.Where(name => !OfOthers.Any(other => name.StartsWith(other, StringComparison.Ordinal)))
            .Order(StringComparer.Ordinal);

    private static async Task<OtlpSpan> SpanAsync(OtlpReceiver collector, string trace, string name) =>
        Assert.Single(await collector.SpansAsync(span => span.Trace == trace && span.Name == name, 1, Limit));

    private static async Task AskAsync(Frontend frontend, string model, string trace, bool isSampled, bool isRefused = false)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, "/v1/completions");
        request.Headers.Add("traceparent", $"00-{trace}-{Client}-{(isSampled ? "01" : "00")}");
        request.Headers.Add("tracestate", "vendor=value");
        request.Headers.Add("x-request-id", "11111111-2222-3333-4444-555555555555");
        var body = new JsonObject
        {
            ["model"] = model,
            ["prompt"] = "hello world",
            ["max_tokens"] = 4,
            ["min_tokens"] = 4,
        };
        if (isRefused)
        {
            body["guided_regex"] = "[0-9"; // the frontend hands it on, the engine does not take it
        }

        request.Content = JsonContent.Create(body);
        using var response = await frontend.Http.SendAsync(request);
        Assert.Equal(!isRefused, response.IsSuccessStatusCode);
    }
}
