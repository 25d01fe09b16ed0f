using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol.Discovery;

namespace Dynamo.Vllm.Protocol.ModelCards;

/// <summary>The model deployment card: all that a frontend must know of a model to serve it through this worker.</summary>
/// <remarks>llm-registration.md, 2. Field order is the reference's. Golden file: tests/golden/llm/cards.json.</remarks>
public sealed record ModelCard
{
    public required string DisplayName { get; init; }

    public string? SourcePath { get; init; }

    public required ModelFiles Files { get; init; }

    public required uint KvCacheBlockSize { get; init; }

    /// <summary>Flag names joined by <c> | </c> in bit order, or empty.</summary>
    public required string ModelType { get; init; }

    /// <summary><c>Tokens</c> or <c>Text</c>.</summary>
    public string ModelInput { get; init; } = "Tokens";

    /// <summary><c>aggregated</c>, <c>prefill</c>, <c>decode</c> or <c>encode</c>.</summary>
    public required string WorkerType { get; init; }

    /// <summary>Alternatives of peer roles that must be alive for this worker to be useful.</summary>
    public IReadOnlyList<IReadOnlyList<string>> Needs { get; init; } = [];

    public string? LoraName { get; init; }

    public uint? LoraMaxGpuCount { get; init; }

    public IReadOnlyList<string> Aliases { get; init; } = [];

    public JsonObject? UserData { get; init; }

    public required ModelRuntimeConfig RuntimeConfig { get; init; }

    public JsonObject? RouterConfig { get; init; }

    public JsonObject ToJson()
    {
        var json = new JsonObject { ["display_name"] = DisplayName, ["slug"] = Slug.Of(DisplayName) };
        Set(json, "source_path", SourcePath);
        json["model_info"] = Wrap("hf_config_json", Files.ModelInfo);
        json["tokenizer"] = Wrap(Files.TokenizerKind, Files.Tokenizer);
        Set(json, "prompt_formatter", Wrap("hf_tokenizer_config_json", Files.PromptFormatter));
        Set(json, "chat_template_file", ChatTemplate());
        Set(json, "gen_config", Wrap("hf_generation_config_json", Files.GenerationConfig));
        Set(json, "architectural_max_context_length", Files.ArchitecturalContextLength);
        json["context_length"] = RuntimeConfig.ContextLength ?? Files.ArchitecturalContextLength ?? 0;
        json["kv_cache_block_size"] = KvCacheBlockSize;
        json["migration_limit"] = 0;
        json["model_type"] = ModelType;
        json["model_input"] = ModelInput;
        json["worker_type"] = WorkerType;
        json["needs"] = new JsonArray([.. Needs.Select(set => new JsonArray([.. set.Select(role => JsonValue.Create(role))]))]);
        AddOptional(json);
        json["runtime_config"] = RuntimeConfig.ToJson();
        json["media_decoder"] = null;
        json["media_fetcher"] = null;
        Set(json, "router_config", RouterConfig?.DeepClone());
        if (Files.ExtraFiles.Count > 0)
        {
            json["extra_files"] = new JsonArray([.. Files.ExtraFiles.Select(file => file.ToJson())]);
        }

        return json;
    }

    private void AddOptional(JsonObject json)
    {
        if (LoraName is not null)
        {
            var lora = new JsonObject { ["name"] = LoraName };
            Set(lora, "max_gpu_lora_count", LoraMaxGpuCount);
            json["lora"] = lora;
        }

        if (Aliases.Count > 0)
        {
            json["aliases"] = new JsonArray([.. Aliases.Select(alias => JsonValue.Create(alias))]);
        }

        Set(json, "user_data", UserData?.DeepClone());
    }

    private JsonObject? ChatTemplate() =>
        Files.ChatTemplate is null
            ? null
            : new JsonObject
            {
                [Files.IsChatTemplateJson ? "hf_chat_template_json" : "hf_chat_template"] = new JsonObject
                {
                    ["is_custom"] = Files.IsChatTemplateCustom,
                    ["file"] = Files.ChatTemplate.ToJson(),
                },
            };

    private static JsonObject? Wrap(string kind, CheckedFile? file) => file is null ? null : new JsonObject { [kind] = file.ToJson() };

    private static void Set(JsonObject json, string key, JsonNode? value)
    {
        if (value is not null)
        {
            json[key] = value;
        }
    }
}
