using System.Text.Json.Nodes;
using Dynamo.Vllm.Worker.Configuration.Options;
using Dynamo.Vllm.Worker.Configuration.Rules;
using Dynamo.Vllm.Worker.Help;
using Dynamo.Vllm.Worker.Models.Cards;

namespace Dynamo.Vllm.Worker.Configuration.Dump;

/// <summary>The object that <c>--dump-config-to</c> writes: one line of JSON, members sorted, no blanks.</summary>
/// <remarks>
/// Same members as the reference's. Unlike there, secrets are replaced not only in the environment but also among engine arguments and
/// in the command line.
/// </remarks>
public static class ConfigurationDump
{
    // The variables that explain a worker: its own, and those of the libraries below it.
    private static readonly string[] VariablePrefixes =
    [
        "DYN_",
        "CUDA_",
        "NCCL_",
        "HF_",
        "TRANSFORMERS_",
        "SGLANG_",
        "SGL_",
        "MC_",
        "VLLM_",
        "TENSORRT_",
        "TORCH_",
        "UCX_",
        "NIXL_",
        "OMPI_",
        "LLM_",
        "TLLM_",
        "TRT_LLM_",
        "TRTLLM_",
        "NVIDIA_",
        "NSYS_",
        "GENERATE_CU_",
        "OVERRIDE_",
        "TOKENIZERS_",
        "DISABLE_TORCH_",
        "PYTORCH_",
        "ENABLE_PERFECT_ROUTER",
        "FLA_",
        "NEMOTRON_",
    ];

    // By the name of the package: vLLM for the CPU comes under another, and then the reference, too, has no such member.
    private static readonly (string Package, string Member)[] EngineVersions =
    [
        ("sglang", "sglang_version"),
        ("tensorrt-llm", "trtllm_version"),
        ("vllm", "vllm_version"),
    ];

    public static string Render(
        WorkerConfiguration configuration,
        IReadOnlyDictionary<string, string> environment,
        ConfigurationDumpFacts facts
    )
    {
        var runtime = (JsonObject?)facts.Python?.DeepClone() ?? [];
        runtime["command_line_args"] = Words(SecretNames.RedactArguments(facts.CommandLine));
        var dump = new JsonObject
        {
            ["system_info"] = facts.System.DeepClone(),
            ["environment"] = Environment(environment),
            ["config"] = Configuration(configuration),
            ["runtime_info"] = runtime,
            ["dynamo_version"] = ProgramIdentity.DynamoVersion,
            ["gpu_info"] = facts.Gpu?.DeepClone(),
            ["installed_packages"] = facts.InstalledPackages?.DeepClone() ?? new JsonObject(),
        };
        foreach (var (package, member) in EngineVersions)
        {
            if (facts.InstalledPackages?[package] is { } version)
            {
                dump[member] = version.DeepClone();
            }
        }

        return PythonJson.Canonical(dump);
    }

    /// <summary>Writes the dump, creating directories on the way.</summary>
    /// <returns>
    /// Null, or why it could not be written: the caller then logs the dump itself, as <c>CONFIG_DUMP: ...</c>, and goes on.
    /// </returns>
    public static string? TryWrite(string path, string dump)
    {
        try
        {
            var full = Path.GetFullPath(path);
            if (Path.GetDirectoryName(full) is { } directory)
            {
                Directory.CreateDirectory(directory);
            }

            File.WriteAllText(full, dump);
            return null;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or ArgumentException)
        {
            return exception.Message;
        }
    }

    private static JsonObject Environment(IReadOnlyDictionary<string, string> environment)
    {
        var json = new JsonObject();
        foreach (var (name, value) in environment)
        {
            if (VariablePrefixes.Any(prefix => name.StartsWith(prefix, StringComparison.Ordinal)))
            {
                json[name] = SecretNames.IsSecretVariable(name) ? SecretNames.Redacted : value;
            }
        }

        return json;
    }

    private static JsonObject Configuration(WorkerConfiguration configuration)
    {
        var json = Values(configuration.Options, OptionGroups.WorkerParser);
        json["namespace"] = configuration.Namespace;
        json["component"] = configuration.Component;
        json["endpoint"] = configuration.Endpoint;
        json["disaggregation_mode"] = "DisaggregationMode." + configuration.Mode.ToString().ToUpperInvariant();
        json["model"] = configuration.Model;
        json["served_model_name"] = configuration.ServedModelNameGiven ? configuration.ServedModelName : null;
        json["served_model_aliases"] = Words(configuration.ServedModelAliases);
        json["use_kv_events"] = configuration.UseKvEvents;
        json["enable_local_indexer"] = true;
        json["connector"] = new JsonArray();
        json["structural_tag"] = StructuralTag(configuration.StructuralTag);
        json["custom_jinja_template"] = configuration.CustomJinjaTemplate;
        json["router_advertisement"] = RouterAdvertisement(configuration.Options);
        json["embedding_transfer_mode"] =
            "EmbeddingTransferMode." + configuration.Options.Get(VllmOptions.EmbeddingTransferMode).ToUpperInvariant().Replace('-', '_');
        json["engine_args"] = EngineArguments(configuration);
        json["_benchmark_points"] = null; // explicit points belong to the self-benchmark, which ends the start
        foreach (var limit in BenchmarkSampling.Limits)
        {
            json[limit.Option.Destination + "_explicit"] = configuration.Options.IsExplicit(limit.Option);
        }

        return json;
    }

    /// <summary>With the members that only a frontend has options for: in a worker's dump they have their defaults.</summary>
    private static JsonObject RouterAdvertisement(OptionValues options)
    {
        var json = Values(options, OptionGroups.RouterParser);
        json["conditional_disagg_decode_busy_threshold"] = null;
        json["conditional_disagg_eff_isl_ratio_threshold"] = 0.7;
        json["conditional_disagg_eff_isl_threshold"] = 2048;
        json["conditional_disagg_policy"] = "isl_bounding";
        json["conditional_disagg_prefill_busy_threshold"] = null;
        json["enforce_disagg"] = false;
        json["min_initial_workers"] = 0;
        json["serve_indexer"] = false;
        return json;
    }

    /// <summary>Unlike in the card a value that is not set is null here, not absent.</summary>
    private static JsonObject? StructuralTag(StructuralTag? tag)
    {
        var json = tag?.ToCard();
        json?.TryAdd("exclude_special_tokens", null);
        return json;
    }

    private static JsonObject EngineArguments(WorkerConfiguration configuration)
    {
        var json = (JsonObject)configuration.Engine.Json.DeepClone();
        foreach (var (destination, value) in configuration.EngineOverrides)
        {
            json[destination] = value?.DeepClone();
        }

        foreach (var destination in json.Select(member => member.Key).Where(SecretNames.IsSecretOption).ToList())
        {
            json[destination] = json[destination] is null ? null : SecretNames.Redacted;
        }

        return json;
    }

    private static JsonObject Values(OptionValues options, IEnumerable<OptionDefinition> shown)
    {
        var json = new JsonObject();
        foreach (var option in shown.Where(option => option.Kind is not (OptionKind.Help or OptionKind.Version)))
        {
            json[option.Destination] = options.GetRaw(option) switch
            {
                null => null,
                bool flag => flag,
                long integer => integer,
                double number => CardNumber.FloatOrText(number),
                string text => text,
                IEnumerable<string> words => Words(words),
                StructuralTagSetting setting => setting.Tag?.ToCard() ?? (JsonNode)false,
                ConditionalDisaggregationSettings settings => settings.ToJson(),
                var other => other.ToString(),
            };
        }

        return json;
    }

    private static JsonArray Words(IEnumerable<string> words) => [.. words.Select(word => (JsonNode)word)];
}
