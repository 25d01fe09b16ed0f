using Dynamo.Vllm.Transports.Otlp.Wire;
using Exporter = Dynamo.Vllm.Transports.Otlp.OtlpClient<
    Dynamo.Vllm.Transports.Otlp.Wire.ExportLogsServiceRequest,
    Dynamo.Vllm.Transports.Otlp.Wire.ExportLogsServiceResponse
>;

namespace Dynamo.Vllm.Transports.Otlp;

/// <summary>Sends lines of the log to one collector. One caller at a time.</summary>
public sealed class OtlpLogsClient : IDisposable
{
    private readonly OtlpOptions _options;
    private readonly Exporter _client;

    public OtlpLogsClient(OtlpOptions options)
    {
        _options = options;
        _client = new Exporter(
            options,
            ExportLogsServiceResponse.Parser,
            (invoker, request, call) => new LogsService.LogsServiceClient(invoker).ExportAsync(request, call)
        );
    }

    /// <summary>Sends lines.</summary>
    /// <returns>How many of them the collector did not take, and its word on them.</returns>
    /// <exception cref="OtlpException">The collector is not there, did not answer in time or refused.</exception>
    public async Task<(long Rejected, string Reason)> ExportAsync(IReadOnlyList<OtlpLogRecord> records, CancellationToken cancellationToken)
    {
        var answer = await _client.SendAsync(OtlpLogs.Build(records, _options), cancellationToken).ConfigureAwait(false);
        return answer.PartialSuccess is { } partly ? (partly.RejectedLogRecords, Exporter.Shorten(partly.ErrorMessage)) : (0, "");
    }

    public void Dispose() => _client.Dispose();
}
