using Dynamo.Vllm.Transports.Media;

namespace Dynamo.Vllm.Worker.Configuration;

/// <summary>What the reference's variables say of fetching media. Their older names count where the newer one is not set.</summary>
internal static class MediaVariables
{
    // Above it a medium does not fit into the queue to the interpreter.
    private const int MebibytesMax = 192;

    public static MediaSourceOptions Read(EnvironmentReader reader)
    {
        var defaults = new MediaSourceOptions();
        var timeout = Name(reader, "DYN_HTTP_TIMEOUT", "DYN_MM_HTTP_READ_TIMEOUT");
        var time = reader.Seconds(timeout, 0);
        return defaults with
        {
            AllowsInternal = reader.Text("DYN_MM_ALLOW_INTERNAL") == "1",
            TrustsProxy = reader.Text("DYN_MM_TRUST_EGRESS_PROXY")?.Trim() == "1",
            LocalFolder = reader.Text("DYN_MM_LOCAL_PATH")?.Trim() is { Length: > 0 } folder ? folder : null,
            BytesMax = reader.Integer("DYN_MM_MAX_FILE_SIZE_MB", 64, maximum: MebibytesMax) << 20,
            DataUrlBytesMax = reader.Integer("DYN_MM_MAX_DATA_URL_MB", 16, maximum: MebibytesMax) << 20,
            TimeLimit = time > TimeSpan.Zero ? time : null,
            ConnectTimeLimit = reader.PositiveSeconds(
                Name(reader, "DYN_HTTP_CONNECT_TIMEOUT", "DYN_MM_HTTP_CONNECT_TIMEOUT"),
                defaults.ConnectTimeLimit.TotalSeconds
            ),
            ConnectionsMax = reader.Integer(
                Name(reader, "DYN_HTTP_MAX_CONNECTIONS", "DYN_MM_HTTP_MAX_CONNECTIONS"),
                defaults.ConnectionsMax,
                maximum: 10_000
            ),
            KeepAlive = reader.Seconds("DYN_HTTP_KEEPALIVE_TIMEOUT", defaults.KeepAlive.TotalSeconds),
            CachedImages = reader.Integer("DYN_MM_IMAGE_CACHE_SIZE", defaults.CachedImages, minimum: 0, maximum: 1024),
            CachesByScope = reader.Text("DYN_MM_IMAGE_CACHE_SESSION_SCOPED") switch
            {
                null or "0" => false,
                "1" => true,
                _ => throw new ConfigurationException("DYN_MM_IMAGE_CACHE_SESSION_SCOPED must be '0' or '1'"),
            },
        };
    }

    private static string Name(EnvironmentReader reader, string name, string olderName) => reader.IsSet(name) ? name : olderName;
}
