using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Engines;

namespace Dynamo.Vllm.Engine;

/// <summary>The guest's description of the engine (engine.py) as a record.</summary>
internal static class EngineFacts
{
    public static EngineDescription Read(JsonElement facts)
    {
        var (start, size) = ManagedRanks(facts);
        var events = facts.GetProperty("kv_events");
        return new EngineDescription
        {
            EngineVersion = facts.GetProperty("vllm_version").GetString()!,
            Model = facts.GetProperty("model").GetString()!,
            ModelFacts = Model(facts.GetProperty("model_facts"), facts.GetProperty("default_sampling")),
            MaxModelLength = facts.GetProperty("max_model_len").GetInt32(),
            VocabularySize = (int?)Long(facts, "vocabulary_size"),
            NumGpuBlocks = Long(facts, "num_gpu_blocks") ?? 0,
            BlockSize = facts.GetProperty("block_size").GetInt32(),
            KvEventBlockSize = facts.GetProperty("kv_event_block_size").GetInt32(),
            MaxNumSeqs = facts.GetProperty("max_num_seqs").GetInt32(),
            MaxNumBatchedTokens = facts.GetProperty("max_num_batched_tokens").GetInt32(),
            DataParallelStart = start,
            DataParallelSize = size,
            WorldSize = (int)(Long(facts, "world_size") ?? 1),
            ReasoningParser = facts.GetProperty("reasoning_parser").GetString()!,
            EnableInReasoning = facts.GetProperty("enable_in_reasoning").GetBoolean(),
            TowerConnectorLora = facts.GetProperty("tower_connector_lora").GetBoolean(),
            MaxLoras = (int?)Long(facts, "max_loras"),
            SpecDecode = SpecDecode(facts.GetProperty("speculative")),
            KvConnector = facts.GetProperty("kv_connector").GetString(),
            KvConnectorExtraConfig = facts.GetProperty("kv_connector_extra_config") is { ValueKind: JsonValueKind.Object } extra
                ? JsonObject.Create(extra.Clone())
                : null,
            KvEngineId = facts.GetProperty("kv_engine_id").GetString(),
            MooncakeBootstrapAddress = facts.GetProperty("mooncake_bootstrap").GetString(),
            KvEventsEndpoint = KvEventsEndpoint(facts, events),
            KvEventsTopic = events.ValueKind == JsonValueKind.Object ? events.GetProperty("topic").GetString() ?? "" : "",
            DefaultMaxTokens =
                facts.GetProperty("default_sampling").TryGetProperty("max_tokens", out var tokens)
                && tokens.ValueKind == JsonValueKind.Number
                    ? tokens.GetInt32()
                    : null,
            BosTokenId = (int?)Long(facts, "bos_token_id"),
            Labels = facts
                .GetProperty("labels")
                .EnumerateObject()
                .ToDictionary(label => int.Parse(label.Name, CultureInfo.InvariantCulture), label => label.Value.GetString()!),
            Tasks = [.. facts.GetProperty("tasks").EnumerateArray().Select(task => task.GetString()!)],
            Multimodal = Multimodal(facts.GetProperty("multimodal")),
            ShutdownTimeoutSeconds = facts.GetProperty("shutdown_timeout").GetDouble(),
        };
    }

    /// <param name="model">Its files.</param>
    /// <param name="sampling">Its defaults. What limits an output is none of how tokens are drawn.</param>
    private static ModelFacts Model(JsonElement model, JsonElement sampling)
    {
        var defaults = new JsonObject(
            sampling
                .EnumerateObject()
                .Where(value => value.Name != "max_tokens")
                .Select(value => new KeyValuePair<string, JsonNode?>(value.Name, JsonNode.Parse(value.Value.GetRawText())))
        );
        return new ModelFacts
        {
            Tokenizer = model.GetProperty("tokenizer").GetString()!,
            Type = model.GetProperty("type").GetString()!,
            Architectures = [.. model.GetProperty("architectures").EnumerateArray().Select(name => name.GetString()!)],
            EosTokenIds = [.. model.GetProperty("eos_token_ids").EnumerateArray().Select(id => id.GetInt32())],
            PadTokenId = (int?)Long(model, "pad_token_id"),
            BosTokenId = (int?)Long(model, "bos_token_id"),
            DataType = model.GetProperty("dtype").GetString()!,
            CacheDataType = model.GetProperty("cache_dtype").GetString()!,
            SamplingDefaultsJson = defaults.Count == 0 ? null : defaults.ToJsonString(),
        };
    }

    /// <summary>First rank and number of ranks that this worker manages (behaviour.md, 2).</summary>
    private static (int Start, int Size) ManagedRanks(JsonElement facts)
    {
        var rank = (int)(Long(facts, "data_parallel_rank") ?? 0);
        if (facts.GetProperty("data_parallel_external_lb").GetBoolean())
        {
            return (rank, 1);
        }

        return facts.GetProperty("data_parallel_hybrid_lb").GetBoolean()
            ? (rank, (int)(Long(facts, "data_parallel_size_local") ?? 1))
            : (rank, (int)(Long(facts, "data_parallel_size") ?? 1));
    }

    private static string? KvEventsEndpoint(JsonElement facts, JsonElement events)
    {
        var isOn =
            events.ValueKind == JsonValueKind.Object
            && events.GetProperty("enabled").GetBoolean()
            && events.GetProperty("publisher").GetString() == "zmq"
            && facts.GetProperty("prefix_caching").GetBoolean();
        return isOn ? events.GetProperty("endpoint").GetString() : null;
    }

    private static JsonObject? SpecDecode(JsonElement speculative) =>
        speculative.ValueKind != JsonValueKind.Object
            ? null
            : new JsonObject
            {
                ["nextn"] = speculative.GetProperty("tokens").GetInt32(),
                ["source"] = "backend_config",
                ["method"] = speculative.GetProperty("method").GetString(),
            };

    private static MultimodalFacts Multimodal(JsonElement facts) =>
        new()
        {
            Family = facts.GetProperty("family").GetString(),
            Limits = facts.GetProperty("limits").EnumerateObject().ToDictionary(kind => kind.Name, kind => kind.Value.GetInt32()),
            ImageToken = (uint?)Long(facts, "image_token"),
            VideoToken = (uint?)Long(facts, "video_token"),
        };

    private static long? Long(JsonElement facts, string name) =>
        facts.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.Number ? value.GetInt64() : null;
}
