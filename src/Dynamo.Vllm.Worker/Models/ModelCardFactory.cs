using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Adapters;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Protocol.ModelCards;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Configuration.Options;
using Dynamo.Vllm.Worker.Configuration.Rules;
using Dynamo.Vllm.Worker.Models.Cards;

namespace Dynamo.Vllm.Worker.Models;

/// <summary>The card of the base model, from configuration and running engine (behaviour.md, 3).</summary>
internal static class ModelCardFactory
{
    /// <summary>What the reference writes where there is no cache.</summary>
    private const uint EncoderBlockSize = 16;

    public static ModelCard Create(
        WorkerConfiguration configuration,
        EngineDescription engine,
        ModelFiles files,
        TopologyFacts topology,
        IReadOnlyList<string> operatorTaints
    )
    {
        var isPrefill = configuration.Mode == DisaggregationMode.Prefill;
        var endpointTypes =
            isPrefill || configuration.IsPoolingWorker
                ? EndpointTypes.None
                : EndpointTypeList.Parse(configuration.Options.Get(RuntimeOptions.EndpointTypes));
        return new ModelCard
        {
            DisplayName = configuration.ServedModelName,
            SourcePath = configuration.Model,
            Files = files,
            KvCacheBlockSize = (uint)engine.BlockSize,
            ModelType =
                isPrefill ? "Prefill"
                : configuration.IsEmbeddingWorker ? "Embedding"
                : configuration.IsClassifyWorker ? "Classify | Pooling"
                : TypeText(endpointTypes),
            ModelInput = TakesText(configuration) ? "Text" : "Tokens",
            WorkerType = WorkerType(configuration.Mode),
            Needs = Needs(configuration.Mode, configuration.RoutesToEncoder),
            Aliases = configuration.ServedModelAliases,
            RuntimeConfig = RuntimeConfig(configuration, engine, endpointTypes, topology, operatorTaints),
            RouterConfig = RouterConfigJson.Build(configuration.Options),
        };
    }

    /// <summary>The card of an encode worker, by which a frontend counts it: nobody can ask it by this name.</summary>
    public static ModelCard CreateForEncoder(WorkerConfiguration configuration, ModelFiles files) =>
        new()
        {
            DisplayName = configuration.ServedModelName,
            SourcePath = configuration.Model,
            Files = files,
            KvCacheBlockSize = EncoderBlockSize,
            ModelType = "",
            WorkerType = WorkerType(configuration.Mode),
            Needs =
            [
                ["prefill", "decode"],
                ["aggregated"],
            ],
            RuntimeConfig = new ModelRuntimeConfig { StableRoutingId = StableRoutingId() },
        };

    /// <summary>The card of an adapter: the base model's place and role,
    /// and of its settings what the reference gives to adapters.</summary>
    /// <param name="configuration">Settings.</param>
    /// <param name="engine">The running engine.</param>
    /// <param name="files">Of the base model, without the operator's chat template.</param>
    /// <param name="adapter">What the card is for.</param>
    public static ModelCard CreateForAdapter(
        WorkerConfiguration configuration,
        EngineDescription engine,
        ModelFiles files,
        LoadedAdapter adapter
    )
    {
        var isPrefill = configuration.Mode == DisaggregationMode.Prefill;
        var data = new JsonObject { ["token_budget"] = TokenBudget(engine) };
        if (!isPrefill)
        {
            AddGenerateCapability(data, engine);
        }

        AddKvHints(data, configuration, engine);
        return new ModelCard
        {
            DisplayName = adapter.Name,
            SourcePath = configuration.Model,
            Files = files,
            KvCacheBlockSize = (uint)engine.BlockSize,
            ModelType = isPrefill ? "Prefill" : TypeText(EndpointTypes.Chat | EndpointTypes.Completions),
            WorkerType = WorkerType(configuration.Mode),
            Needs = Needs(configuration.Mode, configuration.RoutesToEncoder),
            LoraName = adapter.Name,
            LoraMaxGpuCount = (uint?)engine.MaxLoras,
            UserData = new JsonObject { ["lora_adapter"] = true, ["lora_id"] = adapter.Id },
            RuntimeConfig = new ModelRuntimeConfig
            {
                ContextLength = (uint)engine.MaxModelLength,
                ToolCallParser = configuration.Options.Get(RuntimeOptions.DynToolCallParser),
                ReasoningParser = configuration.Options.Get(RuntimeOptions.DynReasoningParser),
                DataParallelStartRank = (uint)engine.DataParallelStart,
                DataParallelSize = (uint)engine.DataParallelSize,
                KvEventPublishingEnabled = configuration.UseKvEvents,
                RuntimeData = data,
                StableRoutingId = StableRoutingId(),
            },
        };
    }

    private static ModelRuntimeConfig RuntimeConfig(
        WorkerConfiguration configuration,
        EngineDescription engine,
        EndpointTypes endpointTypes,
        TopologyFacts topology,
        IReadOnlyList<string> operatorTaints
    )
    {
        var isPrefill = configuration.Mode == DisaggregationMode.Prefill;
        var options = configuration.Options;
        return new ModelRuntimeConfig
        {
            ContextLength = (uint)engine.MaxModelLength,
            TotalKvBlocks = (ulong)engine.BlocksPerRank,
            MaxNumSeqs = (ulong)engine.MaxNumSeqs,
            MaxNumBatchedTokens = (ulong)engine.MaxNumBatchedTokens,
            ToolCallParser = isPrefill ? null : options.Get(RuntimeOptions.DynToolCallParser),
            ReasoningParser = isPrefill ? null : options.Get(RuntimeOptions.DynReasoningParser),
            StructuralTag = configuration.StructuralTag?.ToCard(),
            ExcludeToolsWhenToolChoiceNone = options.Get(RuntimeOptions.ExcludeToolsWhenToolChoiceNone),
            DataParallelStartRank = (uint)engine.DataParallelStart,
            DataParallelSize = (uint)engine.DataParallelSize,
            KvEventPublishingEnabled = configuration.UseKvEvents,
            KvEventSourceMode = configuration.StateAgent is null ? null : "state_agent_v2",
            KvStateEndpoint = KvStateEndpoint(configuration),
            RuntimeData = RuntimeData(configuration, engine, endpointTypes),
            Taints = [.. operatorTaints, .. topology.Taints],
            TopologyDomains = topology.Domains,
            KvTransferDomain = topology.TransferDomain,
            KvTransferEnforcement = topology.Enforcement,
            KvTransferPreferredWeight = topology.PreferredWeight,
            StableRoutingId = StableRoutingId(),
            MaxGpuLoraCount = configuration.Engine.EnableLora && !configuration.IsPoolingWorker ? (uint?)engine.MaxLoras : null,
        };
    }

    private static JsonObject RuntimeData(WorkerConfiguration configuration, EngineDescription engine, EndpointTypes endpointTypes)
    {
        var isPrefill = configuration.Mode == DisaggregationMode.Prefill;
        var data = new JsonObject
        {
            ["tool_call_structural_tag_excludes_reasoning"] = engine.ReasoningParser.Length > 0 && !engine.EnableInReasoning,
        };
        if (!configuration.IsEmbeddingWorker)
        {
            data["token_budget"] = TokenBudget(engine);
        }

        if (
            !isPrefill
            && !configuration.TakesText
            && (endpointTypes.HasFlag(EndpointTypes.Chat) || endpointTypes == EndpointTypes.Completions)
        )
        {
            AddGenerateCapability(data, engine);
        }

        data["stream_interval"] = configuration.StreamInterval;
        if (!isPrefill && configuration.Options.Get(RuntimeOptions.DynDefaultThinkingMode) is { } mode)
        {
            data["default_thinking_mode"] = mode;
        }

        if (engine.SpecDecode is { } speculative)
        {
            data["spec_decode"] = speculative.DeepClone();
        }

        if (!configuration.IsPoolingWorker)
        {
            AddKvHints(data, configuration, engine);
        }

        return data;
    }

    /// <summary>The frontend passes the client's body on.</summary>
    private static bool TakesText(WorkerConfiguration configuration) =>
        configuration.TakesText
        || configuration.IsClassifyWorker
        || (configuration.IsEmbeddingWorker && !configuration.Options.Get(VllmOptions.EmbeddingFrontendTokenization));

    public static string WorkerType(DisaggregationMode mode) =>
        mode switch
        {
            DisaggregationMode.Prefill => "prefill",
            DisaggregationMode.Decode => "decode",
            DisaggregationMode.Encode => "encode",
            _ => "aggregated",
        };

    private static IReadOnlyList<IReadOnlyList<string>> Needs(DisaggregationMode mode, bool routesToEncoder)
    {
        string[] others = mode switch
        {
            DisaggregationMode.Prefill => ["decode"],
            DisaggregationMode.Decode => ["prefill"],
            _ => [],
        };
        string[] all = routesToEncoder ? [.. others, "encode"] : others;
        return all.Length == 0 ? [] : [all];
    }

    private static string? StableRoutingId() =>
        Environment.GetEnvironmentVariable("DYN_STABLE_ROUTING_ID") is { Length: > 0 } id ? id : null;

    private static JsonObject TokenBudget(EngineDescription engine) =>
        new()
        {
            ["combined_limit"] = engine.MaxModelLength,
            ["reject_prompt_overflow"] = true,
            ["reject_total_overflow"] = true,
        };

    /// <summary>Part of the checksum: without it no traffic is shared with official workers.</summary>
    private static void AddGenerateCapability(JsonObject data, EngineDescription engine)
    {
        data["vllm_inference_v1_generate"] = true;
        data["vllm_enable_tower_connector_lora"] = engine.TowerConnectorLora;
    }

    private static void AddKvHints(JsonObject data, WorkerConfiguration configuration, EngineDescription engine) =>
        KvHintCapability.AddTo(
            data,
            engine.KvConnectorExtraConfig,
            WorkerType(configuration.Mode),
            engine.DataParallelStart,
            engine.DataParallelSize,
            publishesSources: configuration.StateAgent is null
        );

    public static JsonObject? KvStateEndpoint(WorkerConfiguration configuration)
    {
        if (configuration.KvStateEndpoint is not { Length: > 0 } text)
        {
            return null;
        }

        var parts = text.Replace("dyn://", "", StringComparison.Ordinal).Split('.');
        return parts.Length == 3
            ? new JsonObject
            {
                ["namespace"] = parts[0],
                ["component"] = parts[1],
                ["name"] = parts[2],
            }
            : throw new ConfigurationException($"--kv-state-endpoint '{text}': expected namespace.component.endpoint");
    }

    private static string TypeText(EndpointTypes types) =>
        string.Join(
            " | ",
            new[] { EndpointTypes.Chat, EndpointTypes.Completions }.Where(type => types.HasFlag(type)).Select(type => type.ToString())
        );
}
