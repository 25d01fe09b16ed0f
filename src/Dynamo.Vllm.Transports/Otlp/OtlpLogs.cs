using Dynamo.Vllm.Transports.Otlp.Wire;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Transports.Otlp;

/// <summary>Lines of the log as OTLP has them. As in the reference a record's scope is who said it.</summary>
internal static class OtlpLogs
{
    public static ExportLogsServiceRequest Build(IReadOnlyList<OtlpLogRecord> records, OtlpOptions options)
    {
        var logs = new ResourceLogs { Resource = OtlpValues.Resource(options) };
        foreach (var said in records.GroupBy(record => record.Category))
        {
            var scope = new ScopeLogs
            {
                Scope = new InstrumentationScope { Name = said.Key, Version = options.ScopeVersion },
            };
            scope.LogRecords.AddRange(said.Select(Convert));
            logs.ScopeLogs.Add(scope);
        }

        return new ExportLogsServiceRequest { ResourceLogs = { logs } };
    }

    private static LogRecord Convert(OtlpLogRecord said)
    {
        var time = OtlpValues.Nanoseconds(said.Time.UtcDateTime);
        var record = new LogRecord
        {
            TimeUnixNano = time,
            ObservedTimeUnixNano = time,
            SeverityNumber = Severity(said.Level),
            SeverityText = said.LevelWord,
            Body = new AnyValue { StringValue = said.Text },
            EventName = said.Event.Name ?? "",
        };
        record.Attributes.Add(OtlpValues.Attribute("event_id", said.Event.Id));
        record.Attributes.AddRange(said.Fields.Select(field => OtlpValues.Attribute(field.Key, field.Value)));
        if (said.Span.TraceId != default)
        {
            record.TraceId = OtlpValues.Bytes(said.Span.TraceId.ToHexString());
            record.SpanId = OtlpValues.Bytes(said.Span.SpanId.ToHexString());
            record.Flags = (uint)said.Span.TraceFlags;
        }

        return record;
    }

    private static SeverityNumber Severity(LogLevel level) =>
        level switch
        {
            LogLevel.Trace => SeverityNumber.Trace,
            LogLevel.Debug => SeverityNumber.Debug,
            LogLevel.Information => SeverityNumber.Info,
            LogLevel.Warning => SeverityNumber.Warn,
            _ => SeverityNumber.Error,
        };
}
