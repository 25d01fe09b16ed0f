namespace Dynamo.Vllm.Transports.Media;

/// <summary>What may be fetched for a request, and how much of it.</summary>
public sealed record MediaSourceOptions
{
    /// <summary><c>http://</c>, and addresses that are not public, are allowed (<c>DYN_MM_ALLOW_INTERNAL</c>).</summary>
    public bool AllowsInternal { get; init; }

    /// <summary>
    /// The operator says that the proxy of the environment keeps clients away from what is internal (<c>DYN_MM_TRUST_EGRESS_PROXY</c>).
    /// </summary>
    public bool TrustsProxy { get; init; }

    /// <summary>Folder below which videos and sounds may be named by path (<c>DYN_MM_LOCAL_PATH</c>); null allows none.</summary>
    public string? LocalFolder { get; init; }

    /// <summary>One medium that is fetched, without the transfer's compression (<c>DYN_MM_MAX_FILE_SIZE_MB</c>).</summary>
    public int BytesMax { get; init; } = 64 << 20;

    /// <summary>A whole <c>data:</c> URL (<c>DYN_MM_MAX_DATA_URL_MB</c>).</summary>
    public int DataUrlBytesMax { get; init; } = 16 << 20;

    /// <summary>All media that are being received, with the room that they may grow into.</summary>
    public long BytesHeldMax { get; init; } = 1L << 30;

    /// <summary>Time of one fetch with its redirects; null: 60 s for a video, 30 s for anything else (<c>DYN_HTTP_TIMEOUT</c>).</summary>
    public TimeSpan? TimeLimit { get; init; }

    /// <summary>Time to connect (<c>DYN_HTTP_CONNECT_TIMEOUT</c>).</summary>
    public TimeSpan ConnectTimeLimit { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Fetches at a time; the next waits (<c>DYN_HTTP_MAX_CONNECTIONS</c>).</summary>
    public int ConnectionsMax { get; init; } = 100;

    /// <summary>How long an idle connection is kept (<c>DYN_HTTP_KEEPALIVE_TIMEOUT</c>).</summary>
    public TimeSpan KeepAlive { get; init; } = TimeSpan.FromSeconds(15);

    /// <summary>Images kept for the next request that names the same URL; 0 keeps none (<c>DYN_MM_IMAGE_CACHE_SIZE</c>).</summary>
    public int CachedImages { get; init; } = 8;

    /// <summary>What was fetched for one scope is shown to no other (<c>DYN_MM_IMAGE_CACHE_SESSION_SCOPED</c>).</summary>
    public bool CachesByScope { get; init; }
}
