using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Text;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.Multimodal;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Transports.Media;

/// <summary>GET of one medium, redirect by redirect, each checked as the first URL was.</summary>
internal sealed partial class HttpMedia : IDisposable
{
    private const int RedirectsMax = 3;
    private const int ReadBytes = 64 * 1024;

    private readonly MediaSourceOptions _options;
    private readonly Func<string, CancellationToken, Task<IPAddress[]>> _resolve;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly MediaBudget _budget;
    private readonly SemaphoreSlim _seats;
    private readonly HttpClient _direct;
    private readonly HttpClient _proxied;

    public HttpMedia(
        MediaSourceOptions options,
        Func<string, CancellationToken, Task<IPAddress[]>> resolve,
        TimeProvider time,
        ILogger logger
    )
    {
        _options = options;
        _resolve = resolve;
        _time = time;
        _logger = logger;
        _budget = new MediaBudget(options.BytesHeldMax);
        _seats = new SemaphoreSlim(options.ConnectionsMax);
        _direct = Client(useProxy: false);
        _proxied = Client(useProxy: true);
    }

    public async Task<ReadOnlyMemory<byte>> FetchAsync(MediaKind kind, string url, string field, CancellationToken cancellationToken)
    {
        var limit = _options.TimeLimit ?? TimeSpan.FromSeconds(kind == MediaKind.Video ? 60 : 30);
        using var deadline = new CancellationTokenSource(limit, _time);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, deadline.Token);
        var host = "";
        try
        {
            await _seats.WaitAsync(stop.Token).ConfigureAwait(false);
            try
            {
                var current = MediaUri.Parse(url, field, _options.AllowsInternal);
                for (var redirects = 0; ; redirects++)
                {
                    host = current.IdnHost;
                    var (body, next) = await HopAsync(current, field, stop.Token).ConfigureAwait(false);
                    if (next is null)
                    {
                        return body.Length > 0 ? body : throw MediaRefusal.Of(field, $"the host '{host}' answered with nothing");
                    }

                    if (redirects == RedirectsMax)
                    {
                        throw MediaRefusal.Of(field, $"more than {RedirectsMax} redirects, the limit");
                    }

                    current = MediaUri.Follow(current, next, field, _options.AllowsInternal);
                }
            }
            finally
            {
                _seats.Release();
            }
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            var problem = deadline.IsCancellationRequested
                ? $"has not answered within {Seconds(limit)} s"
                : $"cannot be connected to within {Seconds(_options.ConnectTimeLimit)} s";
            LogFailed(_logger, host, problem);
            throw MediaRefusal.Of(field, $"the host '{MediaRefusal.Short(host)}' {problem}");
        }
        catch (Exception exception) when (exception is HttpRequestException or IOException && !cancellationToken.IsCancellationRequested)
        {
            if (exception.InnerException is RequestFailedException refusal)
            {
                throw new RequestFailedException(refusal.Error, exception);
            }

            LogFailed(_logger, host, exception.Message);
            throw MediaRefusal.Of(field, $"the host '{MediaRefusal.Short(host)}' cannot be reached, or broke off", cause: exception);
        }
    }

    public void Dispose()
    {
        _direct.Dispose();
        _proxied.Dispose();
        _seats.Dispose();
    }

    /// <summary>The body, or where it is to be had.</summary>
    private async Task<(ReadOnlyMemory<byte> Body, string? Next)> HopAsync(Uri uri, string field, CancellationToken cancellationToken)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, uri);
        request.Options.Set(GuardedConnections.Field, field);
        if (uri.UserInfo.Length > 0)
        {
            var login = Encoding.UTF8.GetBytes(Uri.UnescapeDataString(uri.UserInfo));
            request.Headers.Authorization = new AuthenticationHeaderValue("Basic", Convert.ToBase64String(login));
        }

        using var response = await ClientFor(uri)
            .SendAsync(request, HttpCompletionOption.ResponseHeadersRead, cancellationToken)
            .ConfigureAwait(false);
        var isRedirect = (int)response.StatusCode is 301 or 302 or 303 or 307 or 308;
        if (isRedirect && response.Headers.NonValidated.TryGetValues("Location", out var places) && places.Count > 0)
        {
            return (default, places.First());
        }

        if (!isRedirect && !response.IsSuccessStatusCode)
        {
            throw Refused(field, uri.IdnHost, (int)response.StatusCode);
        }

        return (await ReadAsync(response.Content, field, cancellationToken).ConfigureAwait(false), null);
    }

    /// <summary>
    /// What the origin says of the URL is the client's business. What it says of itself is not said of this worker, which the frontend
    /// would avoid for it: 408, 429 and 5xx are reported as a URL that does not serve.
    /// </summary>
    private RequestFailedException Refused(string field, string host, int status)
    {
        LogFailed(_logger, host, $"status {status.ToString(CultureInfo.InvariantCulture)}");
        return MediaRefusal.Of(
            field,
            $"the host '{MediaRefusal.Short(host)}' answered with status {status.ToString(CultureInfo.InvariantCulture)}",
            status
        );
    }

    /// <summary>Counted while it is read: a length that is announced may be wrong, and may be of something compressed.</summary>
    private async Task<ReadOnlyMemory<byte>> ReadAsync(HttpContent content, string field, CancellationToken cancellationToken)
    {
        await using var stream = await content.ReadAsStreamAsync(cancellationToken).ConfigureAwait(false);
        var announced = Math.Clamp(content.Headers.ContentLength ?? 0, 0, _options.BytesMax);
        var buffer = new byte[Math.Max(ReadBytes, announced + 1)];
        var (length, taken) = (0, 0L);
        try
        {
            _budget.Take(buffer.Length);
            taken = buffer.Length;
            while (true)
            {
                var read = await stream.ReadAsync(buffer.AsMemory(length), cancellationToken).ConfigureAwait(false);
                length += read;
                if (length > _options.BytesMax)
                {
                    throw MediaRefusal.Of(field, $"more than {_options.BytesMax} bytes, the limit that DYN_MM_MAX_FILE_SIZE_MB sets");
                }

                if (read == 0)
                {
                    return buffer.AsMemory(0, length);
                }

                if (length == buffer.Length)
                {
                    var larger = (int)Math.Min(2L * buffer.Length, _options.BytesMax + 1L);
                    _budget.Take(larger - buffer.Length);
                    taken = larger;
                    Array.Resize(ref buffer, larger);
                }
            }
        }
        finally
        {
            _budget.Give(taken);
        }
    }

    private static string Seconds(TimeSpan time) => time.TotalSeconds.ToString(CultureInfo.InvariantCulture);

    private HttpClient ClientFor(Uri uri) =>
        HttpClient.DefaultProxy.GetProxy(uri) is null || HttpClient.DefaultProxy.IsBypassed(uri) ? _direct
        : _options.AllowsInternal || _options.TrustsProxy ? _proxied
        : throw new RequestFailedException(
            // The operator's fault, not the client's.
            DynamoError.Unknown(
                "media would be fetched through the proxy of the environment, which may reach what this worker must not: "
                    + "set DYN_MM_TRUST_EGRESS_PROXY=1 if the proxy refuses that itself, or unset the proxy"
            )
        );

    private HttpClient Client(bool useProxy)
    {
        var handler = new SocketsHttpHandler
        {
            UseProxy = useProxy,
            AllowAutoRedirect = false,
            UseCookies = false,
            AutomaticDecompression = DecompressionMethods.All,
            ConnectTimeout = _options.ConnectTimeLimit,
            PooledConnectionIdleTimeout = _options.KeepAlive,
            MaxConnectionsPerServer = _options.ConnectionsMax,
            MaxResponseHeadersLength = 64,
            Credentials = null,
            PreAuthenticate = false,
        };
        if (!useProxy)
        {
            handler.ConnectCallback = new GuardedConnections(_options.AllowsInternal, _resolve).ConnectAsync;
        }

        return new HttpClient(handler) { Timeout = Timeout.InfiniteTimeSpan }; // each fetch has its own deadline
    }

    // The host alone: the rest of a URL may hold credentials.
    [LoggerMessage(EventId = 3901, Level = LogLevel.Debug, Message = "A medium cannot be fetched from host '{Host}': {Reason}")]
    private static partial void LogFailed(ILogger logger, string host, string reason);
}
