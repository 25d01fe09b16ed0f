using Dynamo.Vllm.Core.Adapters;
using Dynamo.Vllm.Core.Multimodal;
using Dynamo.Vllm.Protocol.Requests;

namespace Dynamo.Vllm.Core.Engines;

/// <summary>One request for the engine: the client's options with what the role decided on top.</summary>
public sealed class EngineRequest
{
    /// <summary>Context id of the request; need not be unique.</summary>
    public required string RequestId { get; init; }

    public required PreprocessedRequest Options { get; init; }

    /// <summary>Always set: the client's value, or the room that is left.</summary>
    public required int MaxTokens { get; init; }

    public int? MinTokens { get; init; }

    /// <summary>The engine's own defaults hold for what the client leaves open, and not the model's.</summary>
    public bool UsesPlainDefaults { get; init; }

    /// <summary>Local data-parallel rank; null lets the engine choose.</summary>
    public int? DataParallelRank { get; init; }

    /// <summary>What the KV connector needs, as JSON.</summary>
    public ReadOnlyMemory<byte>? KvTransferParamsJson { get; init; }

    /// <summary>Where blocks of the prompt can be fetched from, as JSON; found right in form.</summary>
    public ReadOnlyMemory<byte>? KvHintsJson { get; init; }

    /// <summary>What the base model is changed by; null for nothing.</summary>
    public LoadedAdapter? Adapter { get; init; }

    /// <summary>What it shows the engine; null for text alone.</summary>
    public EngineMedia? Media { get; init; }

    /// <summary>Its outputs hold text; null for tokens alone, which costs less.</summary>
    public EngineText? Text { get; init; }

    /// <summary>Trace context for the engine's own spans; null without one.</summary>
    public IReadOnlyDictionary<string, string>? TraceHeaders { get; init; }
}
