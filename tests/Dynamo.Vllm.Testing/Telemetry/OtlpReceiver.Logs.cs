using Dynamo.Vllm.Transports.Otlp.Wire;
using Microsoft.AspNetCore.Http;

namespace Dynamo.Vllm.Testing.Telemetry;

/// <summary>The lines of logs that it got.</summary>
public sealed partial class OtlpReceiver
{
    private const string GrpcLogsPath = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
    private const string LogsPath = "/v1/logs";

    private readonly List<OtlpLine> _lines = [];

    /// <summary>What was accepted, in order.</summary>
    public IReadOnlyList<OtlpLine> Lines
    {
        get
        {
            lock (_lock)
            {
                return [.. _lines];
            }
        }
    }

    /// <summary>Waits for a line.</summary>
    public async Task<OtlpLine> LineAsync(Predicate<OtlpLine> wanted, TimeSpan limit)
    {
        OtlpLine? found = null;
        await Polling.UntilAsync(
            "no such line",
            limit,
            () => Task.FromResult((found = Lines.FirstOrDefault(line => wanted(line))) is not null),
            () => string.Join('\n', Lines)
        );
        return found!;
    }

    private void Keep(HttpContext context, ExportLogsServiceRequest request)
    {
        foreach (var resource in request.ResourceLogs)
        {
            var service = resource.Resource.Attributes.Single(attribute => attribute.Key == "service.name").Value.StringValue;
            var lines = resource.ScopeLogs.SelectMany(scope =>
                scope.LogRecords.Select(record => Read(context.Request.Path, service, scope.Scope.Name, record))
            );
            lock (_lock)
            {
                _lines.AddRange(lines);
            }
        }
    }

    private static OtlpLine Read(string path, string service, string scope, LogRecord record) =>
        new(
            path,
            service,
            scope,
            $"{record.SeverityNumber} {record.SeverityText}",
            record.Body.StringValue,
            record.EventName,
            record.TimeUnixNano,
            record.ObservedTimeUnixNano,
            Hex(record.TraceId),
            Hex(record.SpanId),
            record.Attributes.ToDictionary(attribute => attribute.Key, attribute => Text(attribute.Value))
        );
}
