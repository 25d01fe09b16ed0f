namespace Dynamo.Vllm.Transports.Adapters;

/// <summary>Where adapters are fetched from and kept, as the environment says it.</summary>
public sealed record AdapterSourceOptions
{
    /// <summary>The answer that names an adapter's files.</summary>
    internal const int ListBytesMax = 8 << 20;

    /// <summary>Folder of what was fetched; shared with official workers, which use the same names in it.</summary>
    public required string CacheFolder { get; init; }

    /// <summary>The hub's own cache, which is looked at first.</summary>
    public required string HubCacheFolder { get; init; }

    public Uri HubAddress { get; init; } = new("https://huggingface.co");

    /// <summary>Never logged.</summary>
    public string? HubToken { get; init; }

    public bool HubIsOffline { get; init; }

    public S3Options S3 { get; init; } = new();

    /// <summary>Files of one adapter.</summary>
    public int FilesMax { get; init; } = 256;

    /// <summary>All files of one adapter together: ranks in use are far below; a whole model by mistake is above.</summary>
    public long BytesMax { get; init; } = 16L << 30;

    /// <summary>For one adapter, from the first byte to the last; what vLLM gives its own loading.</summary>
    public TimeSpan TimeLimit { get; init; } = TimeSpan.FromMinutes(10);

    /// <param name="environment">Variables of the hub's and of AWS's own tools.</param>
    /// <param name="cacheFolder"><c>DYN_LORA_PATH</c>, or null.</param>
    public static AdapterSourceOptions Read(IReadOnlyDictionary<string, string> environment, string? cacheFolder)
    {
        string? Text(params string[] names) =>
            names.Select(environment.GetValueOrDefault).FirstOrDefault(value => !string.IsNullOrEmpty(value));
        Uri? Address(params string[] names) => Uri.TryCreate(Text(names), UriKind.Absolute, out var address) ? address : null;
        var cache = Path.Combine(Text("HOME") ?? "/root", ".cache");
        var hub = Text("HF_HOME") ?? Path.Combine(Text("XDG_CACHE_HOME") ?? cache, "huggingface");
        return new AdapterSourceOptions
        {
            CacheFolder = cacheFolder ?? Path.Combine(cache, "dynamo_loras"),
            HubCacheFolder = Text("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE") ?? Path.Combine(hub, "hub"),
            HubAddress = Address("HF_ENDPOINT") ?? new Uri("https://huggingface.co"),
            HubToken = Text("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"),
            HubIsOffline = Text("HF_HUB_OFFLINE")?.ToUpperInvariant() is "1" or "TRUE" or "YES" or "ON",
            S3 = new S3Options
            {
                AccessKeyId = Text("AWS_ACCESS_KEY_ID"),
                SecretAccessKey = Text("AWS_SECRET_ACCESS_KEY"),
                SessionToken = Text("AWS_SESSION_TOKEN"),
                Region = Text("AWS_REGION", "AWS_DEFAULT_REGION") ?? "us-east-1",
                Endpoint = Address("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
            },
        };
    }
}
