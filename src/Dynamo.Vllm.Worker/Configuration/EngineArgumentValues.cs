using System.Text.Json;
using System.Text.Json.Nodes;

namespace Dynamo.Vllm.Worker.Configuration;

/// <summary>vLLM's parsed arguments, one JSON member per destination, as the Python side delivers them.</summary>
/// <remarks>
/// Read tolerantly: a member that is missing or has another type than expected counts as not given, since the set of members changes
/// with every vLLM release. The object is not changed; overrides travel back separately.
/// </remarks>
public sealed class EngineArgumentValues
{
    public const string DefaultModel = "Qwen/Qwen3-0.6B";

    /// <param name="values">Of every argument.</param>
    /// <param name="model">As it was written, where that is known: with the hub offline vLLM's own value is a folder.</param>
    public EngineArgumentValues(JsonObject values, string? model = null)
    {
        Json = values;
        Model = model ?? Text("model") ?? DefaultModel;
    }

    public JsonObject Json { get; }

    public string Model { get; }

    /// <summary>Of the model on its hub; null: the default one.</summary>
    public string? Revision => Text("revision");

    /// <summary>Where vLLM keeps weights, if not in the hub's cache.</summary>
    public string? DownloadFolder => Text("download_dir");

    /// <summary>The words as given, not yet split into names; empty when none were given.</summary>
    public IReadOnlyList<string> ServedModelName =>
        Json["served_model_name"] switch
        {
            JsonArray words => [.. words.Select(Text).OfType<string>()],
            JsonValue word when Text(word) is { } text => [text],
            _ => [],
        };

    public string? Tokenizer => Text("tokenizer");

    public string LoadFormat => Text("load_format") ?? "auto";

    public string Runner => Text("runner") ?? "auto";

    /// <summary>Null when neither form of the flag was given.</summary>
    public bool? EnablePrefixCaching => Flag("enable_prefix_caching");

    public JsonObject? KvEventsConfig => Json["kv_events_config"] as JsonObject;

    public JsonObject? KvTransferConfig => Json["kv_transfer_config"] as JsonObject;

    public bool EnablePromptEmbeds => Flag("enable_prompt_embeds") ?? false;

    public bool EnableLora => Flag("enable_lora") ?? false;

    /// <summary>Null means vLLM decides once it knows the model.</summary>
    public long? BlockSize => Integer("block_size");

    /// <summary>Engine steps between two outputs of a request.</summary>
    public long StreamInterval => Integer("stream_interval") ?? 1;

    public long TensorParallelSize => Integer("tensor_parallel_size") ?? 1;

    public long PipelineParallelSize => Integer("pipeline_parallel_size") ?? 1;

    public long DecodeContextParallelSize => Integer("decode_context_parallel_size") ?? 1;

    public long DataParallelSize => Integer("data_parallel_size") ?? 1;

    /// <summary>What starts the processes of the ranks; null: vLLM decides.</summary>
    public string? ExecutorBackend => Text("distributed_executor_backend");

    /// <summary>All of the engine's processes are below this one: no Ray, no second node.</summary>
    public bool IsOnThisHost =>
        (Integer("nnodes") ?? 1) <= 1 && ExecutorBackend is not ("ray" or "external_launcher") && Text("data_parallel_backend") != "ray";

    public string LogprobsMode => Text("logprobs_mode") ?? "raw_logprobs";

    public string? SchedulerClass => Text("scheduler_cls");

    public string WorkerClass => Text("worker_cls") ?? "auto";

    public string? WorkerExtensionClass => Text("worker_extension_cls");

    /// <summary>Whether the flag with this destination was given.</summary>
    public bool IsOn(string destination) => Flag(destination) == true;

    private static string? Text(JsonNode? node) => node?.GetValueKind() == JsonValueKind.String ? node.GetValue<string>() : null;

    private string? Text(string destination) => Text(Json[destination]);

    private bool? Flag(string destination) =>
        Json[destination]?.GetValueKind() switch
        {
            JsonValueKind.True => true,
            JsonValueKind.False => false,
            _ => null,
        };

    private long? Integer(string destination) =>
        Json[destination] is JsonValue value && value.TryGetValue<long>(out var integer) ? integer
        : Json[destination] is JsonValue small && small.TryGetValue<int>(out var narrow) ? narrow
        : null;
}
