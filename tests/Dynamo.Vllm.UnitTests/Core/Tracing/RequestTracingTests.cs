using System.Diagnostics;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Core.Tracing;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Discovery;
using Microsoft.Extensions.Time.Testing;

namespace Dynamo.Vllm.UnitTests.Core.Tracing;

/// <summary>Spans follow the caller's trace, say what the request cost, and end once.</summary>
[Collection(SpanListening.Name)]
public sealed class RequestTracingTests : IDisposable
{
    private const string Trace = "0af7651916cd43dd8448eb211c80319c";
    private const string Parent = "b7ad6b7169203331";

    private static readonly EndpointId Endpoint = new("ns", "backend", "generate");

    private readonly FakeTimeProvider _time = new(DateTimeOffset.UnixEpoch + TimeSpan.FromDays(20000));
    private readonly List<Activity> _ended = [];
    private readonly RequestTracing _tracing;
    private ActivityListener? _listener;

    public RequestTracingTests() => _tracing = new RequestTracing("12", _time);

    [Fact]
    public void Without_a_listener_a_request_costs_nothing()
    {
        var context = Context($"00-{Trace}-{Parent}-01");
        _tracing.Begin(Endpoint, context, TimeSpan.Zero);
        var before = GC.GetAllocatedBytesForCurrentThread();
        for (var i = 0; i < 1000; i++)
        {
            Assert.Null(_tracing.Begin(Endpoint, context, TimeSpan.Zero));
        }

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
        Assert.Equal($"00-{Trace}-{Parent}-01", context.TraceHeaders()!["traceparent"]);
    }

    [Fact]
    public void A_request_is_a_child_of_its_caller_s_span_and_the_engine_of_the_request_s()
    {
        Listen();
        var context = Context($"00-{Trace}-{Parent}-01", ("tracestate", "a=b"), ("x-request-id", "x"));
        context.Trace = _tracing.Begin(Endpoint, context, TimeSpan.FromSeconds(2));
        context.Trace!.BeginEngine("prefill", "m", context.Id);
        var headers = context.TraceHeaders()!;
        _time.Advance(TimeSpan.FromSeconds(1));
        context.Trace.End(RequestEnd.Finished, CancellationCause.None);

        Assert.Equal(["engine.generate", "handle_payload"], _ended.Select(span => span.OperationName));
        var (engine, request) = (_ended[0], _ended[1]);
        Assert.Equal((Trace, Parent, true), (request.TraceId.ToHexString(), request.ParentSpanId.ToHexString(), request.HasRemoteParent));
        Assert.Equal("a=b", request.TraceStateString);
        Assert.Equal(TimeSpan.FromSeconds(3), request.Duration); // since it was accepted
        Assert.Equal((Parent, "01", "x"), (Tag(request, "parent_id"), Tag(request, "trace_flags"), Tag(request, "x_request_id")));
        Assert.Equal(request.SpanId, engine.ParentSpanId);
        Assert.Equal(2000.0, Tag(engine, "queue_ms"));
        // The engine's own spans go below ours.
        Assert.Equal($"00-{Trace}-{engine.SpanId}-01", headers["traceparent"]);
        Assert.Equal("a=b", headers["tracestate"]);
        Assert.Null(Activity.Current);
    }

    [Fact]
    public void A_trace_that_is_not_sampled_is_handed_on_and_makes_no_span()
    {
        Listen();
        var context = Context($"00-{Trace}-{Parent}-00");
        context.Trace = _tracing.Begin(Endpoint, context, TimeSpan.Zero);
        Assert.Null(context.Trace);
        Assert.Equal($"00-{Trace}-{Parent}-00", context.TraceHeaders()!["traceparent"]);
        Assert.Empty(_ended);
    }

    [Theory]
    [InlineData("nonsense")]
    [InlineData("00-00000000000000000000000000000000-b7ad6b7169203331-01")]
    public void A_parent_that_cannot_be_read_is_none(string parent)
    {
        Listen();
        _tracing.Begin(Endpoint, Context(parent), TimeSpan.Zero)!.End(RequestEnd.Finished, CancellationCause.None);
        Assert.Equal(default, Assert.Single(_ended).ParentSpanId);
    }

    [Fact]
    public void Times_and_counts_are_those_of_the_outputs()
    {
        Listen();
        var trace = _tracing.Begin(Endpoint, Context(), TimeSpan.Zero)!;
        trace.BeginEngine("agg", "m", "r");
        foreach (var (tokens, seconds, isLast) in (ReadOnlySpan<(int, int, bool)>)[(1, 3, false), (3, 6, true)])
        {
            _time.Advance(TimeSpan.FromSeconds(seconds));
            var output = new EngineOutput();
            output.Reset(0, isLast ? FinishReason.Stop : FinishReason.None, isLast ? -1 : 7, isLast ? -1 : 2, isLast);
            output.Append(new int[tokens]);
            trace.Observe(output);
        }

        _time.Advance(TimeSpan.FromSeconds(10)); // the caller reads slowly
        trace.End(RequestEnd.Finished, CancellationCause.None);

        var engine = _ended[0];
        Assert.Equal(TimeSpan.FromSeconds(9), engine.Duration);
        Assert.Equal(
            (7, 2, 4L, "stop", 3000.0, 2000.0),
            (
                Tag(engine, "input_tokens"),
                Tag(engine, "cached_tokens"),
                Tag(engine, "output_tokens"),
                Tag(engine, "finish_reason"),
                Tag(engine, "ttft_ms"),
                Tag(engine, "avg_itl_ms")
            )
        );
    }

    [Fact]
    public void An_error_is_named_by_its_reason_on_both_spans()
    {
        Listen();
        var trace = _tracing.Begin(Endpoint, Context(), TimeSpan.Zero)!;
        trace.BeginEngine("decode", "m", "r");
        trace.End(new RequestEnd(RequestOutcome.HandedBack, "backend.engine_shutdown"), CancellationCause.Shutdown);

        Assert.Equal(2, _ended.Count);
        Assert.All(_ended, span => Assert.Equal(ActivityStatusCode.Error, span.Status));
        Assert.All(_ended, span => Assert.Equal("backend.engine_shutdown", Tag(span, "error_kind")));
        Assert.Equal("error", Tag(_ended[0], "finish_reason"));
        Assert.Equal(("handedback", "shutdown"), (Tag(_ended[1], "outcome"), Tag(_ended[1], "cancelled_by")));
    }

    public void Dispose() => _listener?.Dispose();

    private static object? Tag(Activity span, string name) => span.GetTagItem(name);

    private static RequestContext Context(string? parent = null, params (string Name, string Value)[] more)
    {
        var headers = more.ToDictionary(pair => pair.Name, pair => pair.Value);
        if (parent is not null)
        {
            headers["traceparent"] = parent;
        }

        return new RequestContext("r", PayloadCodec.Json, default, headers);
    }

    private void Listen()
    {
        _listener = new ActivityListener
        {
            ShouldListenTo = source => source.Name == RequestTracing.SourceName,
            Sample = (ref ActivityCreationOptions<ActivityContext> span) =>
                span.Parent.TraceId == default || span.Parent.TraceFlags.HasFlag(ActivityTraceFlags.Recorded)
                    ? ActivitySamplingResult.AllDataAndRecorded
                    : ActivitySamplingResult.None,
            ActivityStopped = _ended.Add,
        };
        ActivitySource.AddActivityListener(_listener);
    }
}
