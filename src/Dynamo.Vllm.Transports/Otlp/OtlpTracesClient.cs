using System.Diagnostics;
using Dynamo.Vllm.Transports.Otlp.Wire;
using Exporter = Dynamo.Vllm.Transports.Otlp.OtlpClient<
    Dynamo.Vllm.Transports.Otlp.Wire.ExportTraceServiceRequest,
    Dynamo.Vllm.Transports.Otlp.Wire.ExportTraceServiceResponse
>;

namespace Dynamo.Vllm.Transports.Otlp;

/// <summary>Sends spans to one collector. One caller at a time.</summary>
public sealed class OtlpTracesClient : IDisposable
{
    private readonly OtlpOptions _options;
    private readonly Exporter _client;

    public OtlpTracesClient(OtlpOptions options)
    {
        _options = options;
        _client = new Exporter(
            options,
            ExportTraceServiceResponse.Parser,
            (invoker, request, call) => new TraceService.TraceServiceClient(invoker).ExportAsync(request, call)
        );
    }

    /// <summary>Sends spans that have ended.</summary>
    /// <returns>How many of them the collector did not take, and its word on them.</returns>
    /// <exception cref="OtlpException">The collector is not there, did not answer in time or refused.</exception>
    public async Task<(long Rejected, string Reason)> ExportAsync(IReadOnlyList<Activity> spans, CancellationToken cancellationToken)
    {
        var answer = await _client.SendAsync(OtlpTraces.Build(spans, _options), cancellationToken).ConfigureAwait(false);
        return answer.PartialSuccess is { } partly ? (partly.RejectedSpans, Exporter.Shorten(partly.ErrorMessage)) : (0, "");
    }

    public void Dispose() => _client.Dispose();
}
