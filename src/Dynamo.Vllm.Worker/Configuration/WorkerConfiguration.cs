using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Worker.Configuration.Options;
using Dynamo.Vllm.Worker.Configuration.Rules;

namespace Dynamo.Vllm.Worker.Configuration;

/// <summary>Everything the worker needs to know before it starts, checked and with names and defaults filled in.</summary>
public sealed record WorkerConfiguration
{
    public required WorkerArguments Arguments { get; init; }

    public OptionValues Options => Arguments.Options;

    public required EngineArgumentValues Engine { get; init; }

    public required string Namespace { get; init; }

    public required string Component { get; init; }

    public required string Endpoint { get; init; }

    public required DisaggregationMode Mode { get; init; }

    /// <summary>Makes vectors of prompts instead of continuing them.</summary>
    public bool IsEmbeddingWorker => Options.Get(VllmOptions.EmbeddingWorker);

    /// <summary>Puts prompts into classes, or gives the model's vectors as they are.</summary>
    public bool IsClassifyWorker => Options.Get(VllmOptions.ClassifyWorker);

    /// <summary>Continues no prompts: one endpoint, no cache that routers would want to know of.</summary>
    public bool IsPoolingWorker => IsEmbeddingWorker || IsClassifyWorker;

    /// <summary>Makes embeddings of images for other workers, and continues no prompts either.</summary>
    public bool IsEncodeWorker => Mode == DisaggregationMode.Encode;

    /// <summary>Has none of the endpoints, events and series of a worker that generates.</summary>
    public bool HasOneEndpoint => IsPoolingWorker || IsEncodeWorker;

    /// <summary>Images are shown to encode workers, which give their embeddings.</summary>
    public bool RoutesToEncoder =>
        Options.Get(VllmOptions.RouteToEncoder) && Options.Get(VllmOptions.EnableMultimodal) && !HasOneEndpoint && !TakesText;

    /// <summary>
    /// The frontend passes the bodies of chats and completions on, and vLLM tokenizes. A prefill worker is given token ids all the same.
    /// </summary>
    public bool TakesText => Options.Get(VllmOptions.UseVllmTokenizer) && Mode != DisaggregationMode.Prefill && !IsPoolingWorker;

    /// <summary>The model as the user wrote it; also the source path of the card.</summary>
    public required string Model { get; init; }

    public required string ServedModelName { get; init; }

    /// <summary>False when <see cref="ServedModelName"/> is only the model string.</summary>
    public required bool ServedModelNameGiven { get; init; }

    /// <summary>Further names of the same model, for the card; may be empty.</summary>
    public required IReadOnlyList<string> ServedModelAliases { get; init; }

    /// <summary>An endpoint of this worker's component.</summary>
    public EndpointId EndpointId(string name) => new(Namespace, Component, name);

    /// <summary>All names under which the base model is asked for.</summary>
    public IReadOnlySet<string> BaseModelNames =>
        new HashSet<string>([ServedModelName, .. ServedModelAliases, Model], StringComparer.Ordinal);

    /// <summary>An agent follows the cache and publishes in this worker's place; null: the worker does itself.</summary>
    public StateAgentSettings? StateAgent { get; init; }

    /// <summary>This worker publishes KV events: <c>kv_event_publishing_enabled</c> of the card.</summary>
    public required bool UseKvEvents { get; init; }

    public required bool EnablePrefixCaching { get; init; }

    /// <summary>Null when structural-tag guidance is switched off.</summary>
    public required StructuralTag? StructuralTag { get; init; }

    /// <summary>Expanded path of an existing file, or null.</summary>
    public required string? CustomJinjaTemplate { get; init; }

    public required bool ForwardPassMetrics { get; init; }

    /// <summary>Base port of the forward-pass metrics; rank r uses base + r.</summary>
    public required int ForwardPassMetricsPort { get; init; }

    /// <summary>The KV transfer goes through NIXL, so peers must reach this host under <c>VLLM_NIXL_SIDE_CHANNEL_HOST</c>.</summary>
    public required bool UsesNixl { get; init; }

    /// <summary>What the scheduler is to measure before the worker serves, in its words; null: nothing.</summary>
    public JsonObject? Benchmark { get; init; }

    /// <summary>Engine arguments to set before the engine configuration is created, by destination.</summary>
    public required IReadOnlyDictionary<string, JsonNode?> EngineOverrides { get; init; }

    /// <summary>Variables to set before Python and its children start; null means remove.</summary>
    public required IReadOnlyDictionary<string, string?> EnvironmentChanges { get; init; }

    /// <summary>Not empty: the caller ends with one line for each and <see cref="ExitCodes.Failure"/>.</summary>
    public required IReadOnlyList<UnsupportedFeature> UnsupportedFeatures { get; init; }

    public required IReadOnlyList<string> Warnings { get; init; }

    /// <summary>Decisions worth a line in the log, at information level.</summary>
    public required IReadOnlyList<string> Notes { get; init; }

    public string? KvStateEndpoint => Options.Get(RuntimeOptions.KvStateEndpoint);

    /// <summary>Engine steps between two outputs of a request, published to the frontend.</summary>
    public long StreamInterval => Engine.StreamInterval;
}
