using System.Diagnostics;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.Discovery;

namespace Dynamo.Vllm.Core.Tracing;

/// <summary>Begins the spans of requests, in the trace that the caller's headers name.</summary>
/// <remarks>Thread-safe. While nobody listens to <see cref="SourceName"/>, and for a trace that is not sampled, it makes nothing.</remarks>
public sealed class RequestTracing
{
    public const string SourceName = "Dynamo.Vllm";

    private static readonly ActivitySource Source = new(SourceName);

    private readonly string _instance;
    private readonly TimeProvider _time;

    /// <param name="instance">This worker in discovery, in decimal as the reference writes it.</param>
    /// <param name="time">Clock.</param>
    public RequestTracing(string instance, TimeProvider time)
    {
        _instance = instance;
        _time = time;
    }

    /// <summary>The span of the whole request; the caller ends it.</summary>
    /// <param name="endpoint">That was asked.</param>
    /// <param name="context">Of the request.</param>
    /// <param name="waited">For its turn, since it was accepted.</param>
    /// <returns>Null where the request is not to be traced.</returns>
    public RequestTrace? Begin(EndpointId endpoint, RequestContext context, TimeSpan waited)
    {
        if (!Source.HasListeners())
        {
            return null;
        }

        var headers = context.Headers;
        var hasParent = ActivityContext.TryParse(
            headers.GetValueOrDefault("traceparent"),
            headers.GetValueOrDefault("tracestate"),
            isRemote: true,
            out var parent
        );
        Activity.Current = null; // else a request without a parent would get that of whoever runs it
        var span = Source.StartActivity(
            "handle_payload",
            ActivityKind.Server,
            hasParent ? parent : default,
            tags: null,
            links: null,
            _time.GetUtcNow() - waited
        );
        if (span is null)
        {
            return null;
        }

        Activity.Current = null; // what the request calls has nothing to do with it
        span.SetTag("target", "request_span");
        span.SetTag("trace_id", span.TraceId.ToHexString());
        if (hasParent)
        {
            span.SetTag("parent_id", parent.SpanId.ToHexString());
            span.SetTag("trace_flags", parent.TraceFlags.HasFlag(ActivityTraceFlags.Recorded) ? "01" : "00");
        }

        if (headers.TryGetValue("x-request-id", out var external))
        {
            span.SetTag("x_request_id", external);
        }

        span.SetTag("request_id", context.Id);
        span.SetTag("component", endpoint.Component);
        span.SetTag("endpoint", endpoint.Name);
        span.SetTag("namespace", endpoint.Namespace);
        span.SetTag("instance_id", _instance);
        return new RequestTrace(Source, span, waited, _time);
    }
}
