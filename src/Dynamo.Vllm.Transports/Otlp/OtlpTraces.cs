using System.Diagnostics;
using System.Globalization;
using Dynamo.Vllm.Transports.Otlp.Wire;
using Google.Protobuf;
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
        var resource = new Resource();
        resource.Attributes.AddRange(options.Resource.Select(pair => Attribute(pair.Key, pair.Value)));
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
                new ResourceSpans { Resource = resource, ScopeSpans = { scope } },
            },
        };
    }

    private static Span Convert(Activity activity)
    {
        var start = Nanoseconds(activity.StartTimeUtc);
        var span = new Span
        {
            TraceId = Bytes(activity.TraceId.ToHexString()),
            SpanId = Bytes(activity.SpanId.ToHexString()),
            TraceState = activity.TraceStateString ?? "",
            Name = activity.OperationName,
            Kind = activity.Kind == ActivityKind.Server ? Span.Types.SpanKind.Server : Span.Types.SpanKind.Internal,
            StartTimeUnixNano = start,
            EndTimeUnixNano = start + ((ulong)activity.Duration.Ticks * 100),
            Flags = (uint)activity.ActivityTraceFlags | HasIsRemote | (activity.HasRemoteParent ? IsRemote : 0),
        };
        if (activity.ParentSpanId != default)
        {
            span.ParentSpanId = Bytes(activity.ParentSpanId.ToHexString());
        }

        foreach (var tag in activity.EnumerateTagObjects())
        {
            if (tag.Value is not null)
            {
                span.Attributes.Add(Attribute(tag.Key, tag.Value));
            }
        }

        if (activity.Status == ActivityStatusCode.Error)
        {
            span.Status = new Status { Code = Status.Types.StatusCode.Error, Message = activity.StatusDescription ?? "" };
        }

        return span;
    }

    private static KeyValue Attribute(string name, object value) =>
        new()
        {
            Key = name,
            Value = value switch
            {
                bool flag => new AnyValue { BoolValue = flag },
                int or long => new AnyValue { IntValue = System.Convert.ToInt64(value, CultureInfo.InvariantCulture) },
                double number => new AnyValue { DoubleValue = number },
                _ => new AnyValue { StringValue = System.Convert.ToString(value, CultureInfo.InvariantCulture) },
            },
        };

    private static ByteString Bytes(string hex) => ByteString.CopyFrom(System.Convert.FromHexString(hex));

    private static ulong Nanoseconds(DateTime time) => (ulong)(time - DateTime.UnixEpoch).Ticks * 100;
}
