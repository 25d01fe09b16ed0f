using System.Globalization;
using Dynamo.Vllm.Transports.Otlp.Wire;
using Microsoft.AspNetCore.Http;

namespace Dynamo.Vllm.Testing.Telemetry;

/// <summary>The spans that it got.</summary>
public sealed partial class OtlpReceiver
{
    private const string GrpcSpansPath = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    private const string SpansPath = "/v1/traces";

    private readonly List<OtlpSpan> _spans = [];

    /// <summary>What was accepted, in order.</summary>
    public IReadOnlyList<OtlpSpan> Spans
    {
        get
        {
            lock (_lock)
            {
                return [.. _spans];
            }
        }
    }

    /// <summary>Waits for so many spans that fit.</summary>
    public async Task<IReadOnlyList<OtlpSpan>> SpansAsync(Predicate<OtlpSpan> wanted, int count, TimeSpan limit)
    {
        IReadOnlyList<OtlpSpan> found = [];
        await Polling.UntilAsync(
            $"not {count} such spans",
            limit,
            () => Task.FromResult((found = [.. Spans.Where(span => wanted(span))]).Count >= count),
            () => string.Join('\n', Spans)
        );
        return found;
    }

    private void Keep(HttpContext context, ExportTraceServiceRequest request)
    {
        var headers = context.Request.Headers.ToDictionary(
            header => header.Key,
            header => header.Value.ToString(),
            StringComparer.OrdinalIgnoreCase
        );
        foreach (var resource in request.ResourceSpans)
        {
            var service = resource.Resource.Attributes.Single(attribute => attribute.Key == "service.name").Value.StringValue;
            var spans = resource
                .ScopeSpans.SelectMany(scope => scope.Spans)
                .Select(span => Read(context.Request.Path, headers, service, span));
            lock (_lock)
            {
                _spans.AddRange(spans);
            }
        }
    }

    private static OtlpSpan Read(string path, Dictionary<string, string> headers, string service, Span span) =>
        new(
            path,
            headers,
            service,
            span.Name,
            span.Kind.ToString(),
            Hex(span.TraceId),
            Hex(span.SpanId),
            Hex(span.ParentSpanId),
            (span.Flags & 0x200) != 0,
            span.TraceState,
            span.StartTimeUnixNano,
            span.EndTimeUnixNano,
            $"{span.Status?.Code ?? Status.Types.StatusCode.Unset} {span.Status?.Message}".Trim(),
            span.Attributes.ToDictionary(attribute => attribute.Key, attribute => Text(attribute.Value))
        );

    private static string Hex(Google.Protobuf.ByteString bytes) => Convert.ToHexStringLower(bytes.Span);

    private static string Text(AnyValue value) =>
        value.ValueCase switch
        {
            AnyValue.ValueOneofCase.StringValue => value.StringValue,
            AnyValue.ValueOneofCase.IntValue => value.IntValue.ToString(CultureInfo.InvariantCulture),
            AnyValue.ValueOneofCase.DoubleValue => value.DoubleValue.ToString(CultureInfo.InvariantCulture),
            _ => value.BoolValue.ToString(),
        };
}
