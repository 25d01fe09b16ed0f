using Dynamo.Vllm.Transports.Otlp;
using Dynamo.Vllm.Worker.Logging;
using Prometheus;

namespace Dynamo.Vllm.Worker.Telemetry;

/// <summary>Sends the lines of the log to a collector, too.</summary>
internal sealed class LogsExport : IDisposable
{
    private readonly OtlpLogsClient _client;

    public LogsExport(
        CollectorRegistry registry,
        LogRecords records,
        OtlpOptions options,
        BatchLimits limits,
        TimeProvider time,
        ILogger<LogsExport> logger
    )
    {
        _client = new OtlpLogsClient(options);
        var lines = Metrics
            .WithCustomRegistry(registry)
            .CreateCounter("dynamo_vllm_log_records_total", "Lines of the log, by what became of their export over OTLP", "outcome");
        var dropped = lines.WithLabels("dropped");
        registry.AddBeforeCollectCallback(() => dropped.IncTo(records.Dropped));
        Batches = new BatchExport<OtlpLogRecord>(
            "Logs",
            options.Endpoint,
            records.Waiting,
            limits,
            lines,
            _client.ExportAsync,
            time,
            logger
        );
    }

    /// <summary>Lines that wait.</summary>
    public BatchExport<OtlpLogRecord> Batches { get; }

    public void Dispose() => _client.Dispose();
}
