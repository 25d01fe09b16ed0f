using System.Net.Http.Headers;
using System.Net.Security;
using Dynamo.Vllm.Transports.Security;
using Google.Protobuf;
using Grpc.Core;
using Grpc.Net.Client;

namespace Dynamo.Vllm.Transports.Otlp;

/// <summary>Sends the requests of one signal to one collector, over gRPC or HTTP. One caller at a time.</summary>
/// <remarks>A collector is a stranger: each export is bounded in time, its answer in size, and it cannot send us elsewhere.</remarks>
/// <typeparam name="TRequest">What is sent.</typeparam>
/// <typeparam name="TResponse">What the collector answers.</typeparam>
internal sealed class OtlpClient<TRequest, TResponse> : IDisposable
    where TRequest : class, IMessage<TRequest>
    where TResponse : class, IMessage<TResponse>
{
    /// <summary>An answer is empty, or a number and a sentence.</summary>
    private const int AnswerBytesMax = 64 << 10;

    private const int MessageLengthMax = 300;

    private readonly OtlpOptions _options;
    private readonly MessageParser<TResponse> _parser;
    private readonly Func<CallInvoker, TRequest, CallOptions, AsyncUnaryCall<TResponse>> _call;
    private readonly HttpClient _http;
    private readonly GrpcChannel? _channel;

    /// <param name="options">Where to, and as whose.</param>
    /// <param name="parser">Of answers over HTTP.</param>
    /// <param name="call">The service's method, for gRPC.</param>
    public OtlpClient(
        OtlpOptions options,
        MessageParser<TResponse> parser,
        Func<CallInvoker, TRequest, CallOptions, AsyncUnaryCall<TResponse>> call
    )
    {
        _options = options;
        _parser = parser;
        _call = call;
        _http = new HttpClient(CreateHandler(options))
        {
            Timeout = Timeout.InfiniteTimeSpan, // each call has its own
            MaxResponseContentBufferSize = AnswerBytesMax,
        };
        if (options.Protocol == OtlpProtocol.Grpc)
        {
            _channel = GrpcChannel.ForAddress(
                options.Endpoint.GetLeftPart(UriPartial.Authority),
                new GrpcChannelOptions { HttpClient = _http, MaxReceiveMessageSize = AnswerBytesMax }
            );
        }
    }

    /// <summary>Sends one request.</summary>
    /// <exception cref="OtlpException">The collector is not there, did not answer in time or refused.</exception>
    public async Task<TResponse> SendAsync(TRequest request, CancellationToken cancellationToken)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(_options.Timeout);
        try
        {
            return _channel is null
                ? await PostAsync(request, limit.Token).ConfigureAwait(false)
                : await CallAsync(_channel, request, limit.Token).ConfigureAwait(false);
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

    /// <summary>A collector's words go into a line of the log.</summary>
    public static string Shorten(string text)
    {
        var line = text.ReplaceLineEndings(" ");
        return line.Length <= MessageLengthMax ? line : $"{line[..MessageLengthMax]}...";
    }

    public void Dispose()
    {
        _channel?.Dispose();
        _http.Dispose();
    }

    private static SocketsHttpHandler CreateHandler(OtlpOptions options)
    {
        var handler = new SocketsHttpHandler
        {
            AllowAutoRedirect = false,
            UseCookies = false,
            ConnectTimeout = options.Timeout,
        };
        if (options.Authorities is { } authorities)
        {
            handler.SslOptions = new SslClientAuthenticationOptions { CertificateChainPolicy = Pem.TrustOnly(authorities) };
        }

        return handler;
    }

    private async Task<TResponse> CallAsync(GrpcChannel channel, TRequest request, CancellationToken cancellationToken)
    {
        var metadata = new Metadata();
        foreach (var (name, value) in _options.Headers)
        {
            metadata.Add(name, value);
        }

        return await _call(channel.CreateCallInvoker(), request, new CallOptions(metadata, cancellationToken: cancellationToken))
            .ResponseAsync.ConfigureAwait(false);
    }

    private async Task<TResponse> PostAsync(TRequest request, CancellationToken cancellationToken)
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

        return _parser.ParseFrom(await response.Content.ReadAsByteArrayAsync(cancellationToken).ConfigureAwait(false));
    }
}
