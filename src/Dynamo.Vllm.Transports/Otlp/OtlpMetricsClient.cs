using System.Net.Http.Headers;
using Dynamo.Vllm.Protocol.Metrics;
using Dynamo.Vllm.Transports.Otlp.Wire;
using Google.Protobuf;
using Grpc.Core;
using Grpc.Net.Client;

namespace Dynamo.Vllm.Transports.Otlp;

/// <summary>Sends metrics to one collector. One caller at a time.</summary>
/// <remarks>A collector is a stranger: each export is bounded in time, its answer in size, and it cannot send us elsewhere.</remarks>
public sealed class OtlpMetricsClient : IDisposable
{
    /// <summary>An answer is empty, or a number and a sentence.</summary>
    private const int AnswerBytesMax = 64 << 10;

    private const int MessageLengthMax = 300;

    private readonly OtlpOptions _options;
    private readonly HttpClient _http;
    private readonly GrpcChannel? _channel;

    public OtlpMetricsClient(OtlpOptions options)
    {
        _options = options;
        _http = new HttpClient(
            new SocketsHttpHandler
            {
                AllowAutoRedirect = false,
                UseCookies = false,
                ConnectTimeout = options.Timeout,
            }
        )
        {
            Timeout = Timeout.InfiniteTimeSpan, // each call has its own
            MaxResponseContentBufferSize = AnswerBytesMax,
        };
        if (options.Protocol == OtlpProtocol.Grpc)
        {
            var address = options.Endpoint.GetLeftPart(UriPartial.Authority);
            _channel = GrpcChannel.ForAddress(
                address,
                new GrpcChannelOptions { HttpClient = _http, MaxReceiveMessageSize = AnswerBytesMax }
            );
        }
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
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(_options.Timeout);
        try
        {
            var answer = _channel is null
                ? await PostAsync(request, limit.Token).ConfigureAwait(false)
                : await CallAsync(_channel, request, limit.Token).ConfigureAwait(false);
            return answer.PartialSuccess is { RejectedDataPoints: > 0 } partly
                ? $"{partly.RejectedDataPoints} points were rejected: {Shorten(partly.ErrorMessage)}"
                : null;
        }
        // Boundary mapping (style E3): how a cancelled call ends depends on how far it was.
        catch (Exception) when (cancellationToken.IsCancellationRequested)
        {
            throw new OperationCanceledException(cancellationToken);
        }
        catch (Exception) when (limit.IsCancellationRequested)
        {
            throw new OtlpException($"no answer within {_options.Timeout.TotalSeconds:0.#} s");
        }
        catch (RpcException exception)
        {
            throw new OtlpException($"{exception.StatusCode}: {Shorten(exception.Status.Detail)}", exception);
        }
        catch (Exception exception) when (exception is HttpRequestException or IOException or InvalidProtocolBufferException)
        {
            throw new OtlpException(Shorten(exception.Message), exception);
        }
    }

    public void Dispose()
    {
        _channel?.Dispose();
        _http.Dispose();
    }

    private async Task<ExportMetricsServiceResponse> CallAsync(
        GrpcChannel channel,
        ExportMetricsServiceRequest request,
        CancellationToken cancellationToken
    )
    {
        var metadata = new Metadata();
        foreach (var (name, value) in _options.Headers)
        {
            metadata.Add(name, value);
        }

        var client = new MetricsService.MetricsServiceClient(channel);
        return await client.ExportAsync(request, metadata, deadline: null, cancellationToken).ResponseAsync.ConfigureAwait(false);
    }

    private async Task<ExportMetricsServiceResponse> PostAsync(ExportMetricsServiceRequest request, CancellationToken cancellationToken)
    {
        using var message = new HttpRequestMessage(HttpMethod.Post, _options.Endpoint)
        {
            Content = new ByteArrayContent(request.ToByteArray())
            {
                Headers = { ContentType = new MediaTypeHeaderValue("application/x-protobuf") },
            },
        };
        foreach (var (name, value) in _options.Headers)
        {
            message.Headers.TryAddWithoutValidation(name, value);
        }

        using var response = await _http.SendAsync(message, cancellationToken).ConfigureAwait(false);
        if (!response.IsSuccessStatusCode)
        {
            throw new OtlpException($"the collector answered {(int)response.StatusCode}");
        }

        var body = await response.Content.ReadAsByteArrayAsync(cancellationToken).ConfigureAwait(false);
        return ExportMetricsServiceResponse.Parser.ParseFrom(body);
    }

    /// <summary>A collector's words go into a line of the log.</summary>
    private static string Shorten(string text)
    {
        var line = text.ReplaceLineEndings(" ");
        return line.Length <= MessageLengthMax ? line : $"{line[..MessageLengthMax]}...";
    }
}
