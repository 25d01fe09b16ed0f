using System.Diagnostics;
using Dynamo.Vllm.Transports.Otlp.Wire;
using Status = Dynamo.Vllm.Transports.Otlp.Wire.Status;

namespace Dynamo.Vllm.Transports.Otlp;

/// <summary>Spans as OTLP has them. As in the reference the scope is named like the service.</summary>
internal static class OtlpTraces
{
    /// <summary>OpenTelemetry's word in the flags that it is known whether the parent is on another host.</summary>
    private const uint HasIsRemote = 0x100;

    private const uint IsRemote = 0x200;

    public static ExportTraceServiceRequest Build(IReadOnlyList<Activity> spans, OtlpOptions options)
    {
        var service = options.Resource.LastOrDefault(pair => pair.Key == "service.name").Value ?? "";
        var scope = new ScopeSpans
        {
            Scope = new InstrumentationScope { Name = service, Version = options.ScopeVersion },
        };
        scope.Spans.AddRange(spans.Select(Convert));
        return new ExportTraceServiceRequest
        {
            ResourceSpans =
            {
                new ResourceSpans { Resource = OtlpValues.Resource(options), ScopeSpans = { scope } },
            },
        };
    }

    private static Span Convert(Activity activity)
    {
        var start = OtlpValues.Nanoseconds(activity.StartTimeUtc);
        var span = new Span
        {
            TraceId = OtlpValues.Bytes(activity.TraceId.ToHexString()),
            SpanId = OtlpValues.Bytes(activity.SpanId.ToHexString()),
            TraceState = activity.TraceStateString ?? "",
            Name = activity.OperationName,
            Kind = activity.Kind == ActivityKind.Server ? Span.Types.SpanKind.Server : Span.Types.SpanKind.Internal,
            StartTimeUnixNano = start,
            EndTimeUnixNano = start + ((ulong)activity.Duration.Ticks * 100),
            Flags = (uint)activity.ActivityTraceFlags | HasIsRemote | (activity.HasRemoteParent ? IsRemote : 0),
        };
        if (activity.ParentSpanId != default)
        {
            span.ParentSpanId = OtlpValues.Bytes(activity.ParentSpanId.ToHexString());
        }

        foreach (var tag in activity.EnumerateTagObjects())
        {
            if (tag.Value is not null)
            {
                span.Attributes.Add(OtlpValues.Attribute(tag.Key, tag.Value));
            }
        }

        if (activity.Status == ActivityStatusCode.Error)
        {
            span.Status = new Status { Code = Status.Types.StatusCode.Error, Message = activity.StatusDescription ?? "" };
        }

        return span;
    }
}
