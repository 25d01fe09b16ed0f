using System.Text.Json.Nodes;

namespace Dynamo.Vllm.Core.Engines;

/// <summary>Limits and settings of the running engine, read once after it is ready (behaviour.md, 2).</summary>
public sealed record EngineDescription
{
    public required string EngineVersion { get; init; }

    public required string Model { get; init; }

    /// <summary>What the model's own files say.</summary>
    public ModelFacts ModelFacts { get; init; } = new();

    public required int MaxModelLength { get; init; }

    /// <summary>Token ids are below it; null if unknown.</summary>
    public int? VocabularySize { get; init; }

    /// <summary>Over all ranks; 0 if unknown.</summary>
    public long NumGpuBlocks { get; init; }

    public required int BlockSize { get; init; }

    /// <summary>Tokens per block in KV events; differs from <see cref="BlockSize"/> for hybrid models.</summary>
    public required int KvEventBlockSize { get; init; }

    public required int MaxNumSeqs { get; init; }

    public required int MaxNumBatchedTokens { get; init; }

    /// <summary>First global data-parallel rank of this worker.</summary>
    public int DataParallelStart { get; init; }

    /// <summary>Ranks that this worker manages.</summary>
    public int DataParallelSize { get; init; } = 1;

    public int WorldSize { get; init; } = 1;

    public string ReasoningParser { get; init; } = "";

    public bool EnableInReasoning { get; init; }

    public bool TowerConnectorLora { get; init; }

    public int? MaxLoras { get; init; }

    public JsonObject? SpecDecode { get; init; }

    public string? KvConnector { get; init; }

    public JsonObject? KvConnectorExtraConfig { get; init; }

    public string? KvEngineId { get; init; }

    /// <summary><c>http://host:port</c> of Mooncake's bootstrap server, if that connector is in use.</summary>
    public string? MooncakeBootstrapAddress { get; init; }

    /// <summary>How long the connector keeps blocks that nobody pulls.</summary>
    public TimeSpan KvLease =>
        KvConnectorExtraConfig?["kv_lease_duration"] is System.Text.Json.Nodes.JsonValue value && value.TryGetValue<double>(out var seconds)
            ? TimeSpan.FromSeconds(seconds)
            : TimeSpan.FromSeconds(30); // vLLM's default

    /// <summary>Endpoint of the engine's KV event publisher, or null when it publishes none.</summary>
    public string? KvEventsEndpoint { get; init; }

    public string KvEventsTopic { get; init; } = "";

    /// <summary>Default <c>max_tokens</c> of the model's generation config.</summary>
    public int? DefaultMaxTokens { get; init; }

    public int? BosTokenId { get; init; }

    /// <summary>What the model can be asked for, in the engine's words: <c>generate</c>, <c>embed</c> and others.</summary>
    public IReadOnlyList<string> Tasks { get; init; } = ["generate"];

    /// <summary>Names of the classes that the model tells apart, by number; empty if it has none.</summary>
    public IReadOnlyDictionary<int, string> Labels { get; init; } = new Dictionary<int, string>();

    public MultimodalFacts Multimodal { get; init; } = new();

    public double ShutdownTimeoutSeconds { get; init; }

    /// <summary>KV blocks of one rank: the quotient, at least 1; 0 if unknown.</summary>
    public long BlocksPerRank => NumGpuBlocks <= 0 ? 0 : Math.Max(1, NumGpuBlocks / Math.Max(1, DataParallelSize));

    /// <summary>The engine's own number of a rank; null, which lets it choose, for none and for one that it does not manage.</summary>
    public int? LocalRank(int? globalRank)
    {
        var local = globalRank - DataParallelStart;
        return local >= 0 && local < DataParallelSize ? local : null;
    }
}
