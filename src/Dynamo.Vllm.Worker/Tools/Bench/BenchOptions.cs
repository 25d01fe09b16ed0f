namespace Dynamo.Vllm.Worker.Tools.Bench;

/// <summary>What <c>bench</c> was asked for, checked.</summary>
internal sealed record BenchOptions
{
    /// <summary>Times of all chunks are kept until the end, for exact percentiles: 8 bytes each,
    /// twice at the end when they are sorted, so half a gigabyte.</summary>
    public const long OutputTokensMax = 32 << 20;

    public const int PromptsMax = 1_000_000;

    /// <summary>Connections at a time. One host has some 28,000 ports for one address.</summary>
    public const int ConcurrencyMax = 16_384;

    /// <summary>Of a prompt: a body of some megabytes.</summary>
    public const int LengthMax = 1_000_000;

    public const int WarmupsMax = 10_000;

    public static readonly string[] Metrics = ["ttft", "tpot", "itl", "e2el", ClientQueueTime, LatencyWithQueue];

    public const string ClientQueueTime = "client_queue_time";

    public const string LatencyWithQueue = "e2el_including_client_queue";

    public required Uri BaseUrl { get; init; }

    public required string Endpoint { get; init; }

    /// <summary>Null: the first that the server lists.</summary>
    public string? Model { get; init; }

    public required int Prompts { get; init; }

    public required int Warmups { get; init; }

    /// <summary>Null: no limit but the number of prompts.</summary>
    public int? Concurrency { get; init; }

    /// <summary>Requests a second; infinite: all at once.</summary>
    public required double Rate { get; init; }

    public required int Seed { get; init; }

    public required int PrefixLength { get; init; }

    public required int InputLength { get; init; }

    public required int OutputLength { get; init; }

    /// <summary>Lengths lie within this part of the mean on either side.</summary>
    public required double RangeRatio { get; init; }

    /// <summary>Prompts are token ids of it; null: words.</summary>
    public Vocabulary? Vocabulary { get; init; }

    /// <summary>Members of each body, with their values as JSON.</summary>
    public required IReadOnlyDictionary<string, string> ExtraBody { get; init; }

    public required IReadOnlyDictionary<string, string> Headers { get; init; }

    public required string RequestIdPrefix { get; init; }

    public required IReadOnlyList<string> PercentileMetrics { get; init; }

    public required IReadOnlyList<double> Percentiles { get; init; }

    /// <summary>Milliseconds that a metric may have in a good request.</summary>
    public required IReadOnlyDictionary<string, double> Goodput { get; init; }

    public required TimeSpan RequestTimeout { get; init; }

    public required TimeSpan ReadyTimeout { get; init; }

    public required bool ShowsProgress { get; init; }

    /// <summary>Null: nothing is saved.</summary>
    public BenchFileOptions? File { get; init; }

    public bool IsChat => Endpoint.EndsWith("chat/completions", StringComparison.Ordinal);

    /// <summary>In vLLM's words.</summary>
    public string Backend => IsChat ? "openai-chat" : "openai";

    /// <summary>That are under way at a time, at most.</summary>
    public int ConnectionsMax => Math.Min(Concurrency ?? Prompts, Prompts);

    public Uri Url => new(BaseUrl, BaseUrl.AbsolutePath.TrimEnd('/') + Endpoint);

    public Uri ModelsUrl => new(BaseUrl, BaseUrl.AbsolutePath.TrimEnd('/') + "/v1/models");
}
