using System.Net;
using Dynamo.Vllm.Core.Multimodal;
using Dynamo.Vllm.Protocol.Multimodal;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Transports.Media;

/// <summary>Media by URL: over HTTP, in the URL itself or, for videos and sounds, out of a folder of the operator.</summary>
/// <remarks>
/// Thread-safe. The reference's rules and variables; "Multimodal requests" in docs/operations.md says where it is stricter.
/// </remarks>
public sealed class MediaSource : IMediaSource, IDisposable
{
    private readonly MediaSourceOptions _options;
    private readonly HttpMedia _http;
    private readonly LocalMedia _local;
    private readonly MediaCache _cache;

    public MediaSource(MediaSourceOptions options, TimeProvider time, ILogger<MediaSource> logger)
        : this(options, Dns.GetHostAddressesAsync, time, logger) { }

    internal MediaSource(
        MediaSourceOptions options,
        Func<string, CancellationToken, Task<IPAddress[]>> resolve,
        TimeProvider time,
        ILogger<MediaSource> logger
    )
    {
        _options = options;
        _http = new HttpMedia(options, resolve, time, logger);
        _local = new LocalMedia(options);
        _cache = new MediaCache(options);
    }

    public async Task<ReadOnlyMemory<byte>> FetchAsync(
        MediaKind kind,
        string url,
        string field,
        string? scope,
        CancellationToken cancellationToken
    )
    {
        var scheme = SchemeOf(url);
        return scheme switch
        {
            "data" => DataUrl.Decode(kind, url, field, _options.DataUrlBytesMax),
            "" or "file" when kind == MediaKind.Image => throw MediaRefusal.Of(field, "images of local files are not served"),
            "" or "file" => await _local.ReadAsync(scheme, url, field, cancellationToken).ConfigureAwait(false),
            "http" or "https" when kind == MediaKind.Image => await _cache
                .GetAsync(url, scope, token => _http.FetchAsync(kind, url, field, token), cancellationToken)
                .ConfigureAwait(false),
            "http" or "https" => await _http.FetchAsync(kind, url, field, cancellationToken).ConfigureAwait(false),
            _ => throw MediaRefusal.Of(field, $"URLs of the scheme '{MediaRefusal.Short(scheme)}' are not allowed, only https and data"),
        };
    }

    public void Dispose() => _http.Dispose();

    /// <summary>In lower case; empty for what has none, which is a path.</summary>
    private static string SchemeOf(string url)
    {
        var colon = url.AsSpan().IndexOf(':');
        var isScheme =
            colon > 0
            && char.IsAsciiLetter(url[0])
            && url.Take(colon).All(letter => char.IsAsciiLetterOrDigit(letter) || letter is '+' or '-' or '.');
        return isScheme ? url[..colon].ToLowerInvariant() : "";
    }
}
