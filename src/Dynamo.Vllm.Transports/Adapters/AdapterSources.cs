using Dynamo.Vllm.Core.Adapters;

namespace Dynamo.Vllm.Transports.Adapters;

/// <summary>Adapters by address: <c>file://</c>, <c>hf://</c> and <c>s3://</c>. Thread-safe.</summary>
public sealed class AdapterSources : IAdapterSource, IDisposable
{
    private readonly AdapterSourceOptions _options;
    private readonly TimeProvider _time;

    /// <remarks>Redirections are followed by those who know whom their credentials are for.</remarks>
    private readonly HttpClient _http = new(new SocketsHttpHandler { AllowAutoRedirect = false }) { Timeout = Timeout.InfiniteTimeSpan };
    private readonly CancellationTokenSource _stop = new();
    private readonly CancellationToken _stopped;
    private readonly HubAdapters _hub;
    private readonly S3Adapters _s3;

    public AdapterSources(AdapterSourceOptions options, TimeProvider time)
    {
        _options = options;
        _time = time;
        _stopped = _stop.Token;
        var cache = new AdapterCache(options);
        _hub = new HubAdapters(options, cache, _http);
        _s3 = new S3Adapters(options, cache, _http, time);
    }

    public async Task<string> FetchAsync(string uri, CancellationToken cancellationToken)
    {
        if (uri.StartsWith("file://", StringComparison.Ordinal))
        {
            return FindLocal(uri);
        }

        Func<string, CancellationToken, Task<string>> fetch = uri switch
        {
            _ when uri.StartsWith("hf://", StringComparison.Ordinal) => _hub.FetchAsync,
            _ when uri.StartsWith("s3://", StringComparison.Ordinal) => _s3.FetchAsync,
            _ => throw new AdapterSourceException($"Download failed: LoRA {uri} not found in any source"),
        };
        using var limit = new CancellationTokenSource(_options.TimeLimit, _time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(limit.Token, _stopped, cancellationToken);
        try
        {
            return await fetch(uri, either.Token).ConfigureAwait(false);
        }
        catch (Exception exception)
            when (exception is OperationCanceledException or ObjectDisposedException
                && _stopped.IsCancellationRequested
                && !cancellationToken.IsCancellationRequested
            )
        {
            throw new AdapterSourceException($"Download failed: {uri}: the worker stops", exception);
        }
        catch (OperationCanceledException exception) when (!cancellationToken.IsCancellationRequested)
        {
            throw new AdapterSourceException($"Download failed: {uri} is not here after {_options.TimeLimit.TotalSeconds:0} s", exception);
        }
        catch (Exception exception) when (exception is HttpRequestException or IOException or UnauthorizedAccessException)
        {
            throw new AdapterSourceException($"Download failed: {exception.Message}", exception);
        }
    }

    /// <summary>Ends every fetch, also between two bytes of a file, which a client that is disposed does not.</summary>
    public void Dispose()
    {
        if (!_stopped.IsCancellationRequested)
        {
            _stop.Cancel();
            _stop.Dispose();
            _http.Dispose();
        }
    }

    /// <summary>Used where it lies. What is in it, is for the engine to judge.</summary>
    private static string FindLocal(string uri)
    {
        var path = uri["file://".Length..];
        return path.Length > 0 && !path.Contains('\0', StringComparison.Ordinal) && Directory.Exists(path)
            ? path
            : throw new AdapterSourceException($"Download failed: Local LoRA not found: {uri}");
    }
}
