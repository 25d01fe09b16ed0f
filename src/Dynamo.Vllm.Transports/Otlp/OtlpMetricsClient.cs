using Dynamo.Vllm.Protocol.Metrics;
using Dynamo.Vllm.Transports.Otlp.Wire;
using Exporter = Dynamo.Vllm.Transports.Otlp.OtlpClient<
    Dynamo.Vllm.Transports.Otlp.Wire.ExportMetricsServiceRequest,
    Dynamo.Vllm.Transports.Otlp.Wire.ExportMetricsServiceResponse
>;

namespace Dynamo.Vllm.Transports.Otlp;

/// <summary>Sends metrics to one collector. One caller at a time.</summary>
public sealed class OtlpMetricsClient : IDisposable
{
    private readonly OtlpOptions _options;
    private readonly Exporter _client;

    public OtlpMetricsClient(OtlpOptions options)
    {
        _options = options;
        _client = new Exporter(
            options,
            ExportMetricsServiceResponse.Parser,
            (invoker, request, call) => new MetricsService.MetricsServiceClient(invoker).ExportAsync(request, call)
        );
    }

    /// <summary>Sends the families of a page.</summary>
    /// <param name="families">Of one page.</param>
    /// <param name="started">When this worker began to count.</param>
    /// <param name="now">When the page was read.</param>
    /// <param name="cancellationToken">Ends it early.</param>
    /// <returns>Null, or in a sentence what of it the collector did not take.</returns>
    /// <exception cref="OtlpException">The collector is not there, did not answer in time or refused.</exception>
    public async Task<string?> ExportAsync(
        IReadOnlyList<MetricFamily> families,
        DateTimeOffset started,
        DateTimeOffset now,
        CancellationToken cancellationToken
    )
    {
        var request = OtlpMetrics.Build(families, _options, started, now);
        var answer = await _client.SendAsync(request, cancellationToken).ConfigureAwait(false);
        return answer.PartialSuccess is { RejectedDataPoints: > 0 } partly
            ? $"{partly.RejectedDataPoints} points were rejected: {Exporter.Shorten(partly.ErrorMessage)}"
            : null;
    }

    public void Dispose() => _client.Dispose();
}
