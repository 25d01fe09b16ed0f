using System.Text.Json.Nodes;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Configuration.Options;
using Dynamo.Vllm.Worker.Configuration.Parsing;

namespace Dynamo.Vllm.Worker.Models.Cards;

/// <summary>Builds the <c>router_config</c> object of the model card.</summary>
/// <remarks>
/// Order and number format matter: the card's checksum covers the compact text of this object. Captured from register_model 1.6.1:
/// <c>kv_router_config</c> is present in every mode, with its defaults where the mode is not kv, and fields that are marked "absent" below
/// are left out at their default. Two options never reach the card: the approximate cache policy and the two worker-selection names.
/// </remarks>
public static class RouterConfigJson
{
    private const string PublicHash = "public-xxh3-v1";
    private const long InputTokensThresholdDefault = 2048;
    private const double InputRatioThresholdDefault = 0.7;

    // The card spells the names of an enum in snake case, which makes "KV" into "k_v".
    private static readonly Dictionary<string, string> Modes = new()
    {
        ["round-robin"] = "round_robin",
        ["random"] = "random",
        ["power-of-two"] = "power_of_two_choices",
        ["kv"] = "k_v",
        ["direct"] = "direct",
        ["least-loaded"] = "least_loaded",
        ["device-aware-weighted"] = "device_aware_weighted",
    };

    /// <summary>The object, or null when this worker advertises nothing.</summary>
    /// <exception cref="ConfigurationException">A value that the reference refuses at registration.</exception>
    public static JsonObject? Build(OptionValues options)
    {
        if (options.Get(RouterOptions.RouterMode) is not { } word)
        {
            return null;
        }

        if (!Modes.TryGetValue(word, out var mode))
        {
            var expected = string.Join(", ", Modes.Keys.Order(StringComparer.Ordinal));
            throw new ConfigurationException($"unknown router mode {PythonText.Quote(word)}; expected one of {expected}");
        }

        var settings = mode == "k_v" ? KvRouterSettings.From(options) : KvRouterSettings.Defaults;
        RouterLimits.CheckCommon(options);
        return new JsonObject
        {
            ["router_mode"] = mode,
            ["kv_router_config"] = KvRouterConfig(settings),
            ["load_threshold_config"] = LoadThresholds(options),
            ["enforce_disagg"] = false,
            ["session_affinity_ttl_secs"] = options.Get(RouterOptions.SessionAffinityTtlSeconds),
            ["session_affinity_mode"] = options.Get(RouterOptions.SessionAffinityMode),
        };
    }

    private static JsonObject KvRouterConfig(KvRouterSettings settings)
    {
        var json = new JsonObject();
        Add("overlap_score_credit", CardNumber.Float(settings.OverlapScoreCredit));
        Add("overlap_score_credit_decay", CardNumber.Float(settings.OverlapScoreCreditDecay));
        Add("prefill_load_scale", CardNumber.Float(settings.PrefillLoadScale));
        AddUnless(
            settings.DecodeActiveRequestWeight == 0,
            "decode_active_request_weight",
            CardNumber.Float(settings.DecodeActiveRequestWeight)
        );
        Add("host_cache_hit_weight", CardNumber.Float(settings.HostCacheHitWeight));
        Add("disk_cache_hit_weight", CardNumber.Float(settings.DiskCacheHitWeight));
        Add("router_temperature", CardNumber.Float(settings.RouterTemperature));
        Add("use_kv_events", settings.UseKvEvents);
        Add("router_replica_sync", settings.RouterReplicaSync);
        Add("router_track_active_blocks", settings.RouterTrackActiveBlocks);
        Add("router_track_output_blocks", settings.RouterTrackOutputBlocks);
        Add("router_assume_kv_reuse", settings.RouterAssumeKvReuse);
        Add("router_track_prefill_tokens", settings.RouterTrackPrefillTokens);
        AddUnless(settings.RouterTrackingHash == PublicHash, "router_tracking_hash", settings.RouterTrackingHash);
        AddUnless(settings.RouterTrackingKeyFile is null, "router_tracking_key_file", settings.RouterTrackingKeyFile);
        AddUnless(settings.RouterTrackingKeyId is null, "router_tracking_key_id", settings.RouterTrackingKeyId);

        // Renamed on the command line, but not on the wire.
        Add("router_prefill_load_model", settings.RouterPrefillLoadModel == "ais" ? "aic" : settings.RouterPrefillLoadModel);
        Add("router_ttl_secs", CardNumber.Float(settings.RouterTtlSeconds));
        Add("router_queue_threshold", CardNumber.Float(settings.RouterQueueThreshold));
        Add("router_policy_config", settings.RouterPolicyConfig);
        Add("router_event_threads", settings.RouterEventThreads);
        Add("skip_initial_worker_wait", false);
        Add("router_queue_policy", settings.RouterQueuePolicy);
        Add("use_remote_indexer", settings.UseRemoteIndexer);
        Add("serve_indexer", false);
        AddUnless(!settings.EnableSessionPrefixIndex, "enable_session_prefix_index", true);
        AddUnless(settings.SharedCacheMultiplier is null, "shared_cache_multiplier", CardNumber.Float(settings.SharedCacheMultiplier));
        Add("shared_cache_type", settings.SharedCacheType);
        Add("router_predicted_ttl_secs", CardNumber.Float(settings.RouterPredictedTtlSeconds));
        AddConditionalDisaggregation(settings);
        return json;

        void Add(string name, JsonNode? value) => json.Add(name, value);

        void AddUnless(bool absent, string name, JsonNode? value)
        {
            if (!absent)
            {
                json.Add(name, value);
            }
        }

        void AddConditionalDisaggregation(KvRouterSettings from)
        {
            var conditional = from.Conditional;
            AddUnless(!from.ConditionalEnabled, "conditional_disagg_enabled", true);
            AddUnless(conditional.Policy is null or "isl_bounding", "conditional_disagg_policy", conditional.Policy);
            AddUnless(
                (conditional.InputTokensThreshold ?? InputTokensThresholdDefault) == InputTokensThresholdDefault,
                "conditional_disagg_eff_isl_threshold",
                conditional.InputTokensThreshold
            );
            AddUnless(
                (conditional.InputRatioThreshold ?? InputRatioThresholdDefault) == InputRatioThresholdDefault,
                "conditional_disagg_eff_isl_ratio_threshold",
                CardNumber.Float(conditional.InputRatioThreshold)
            );
            AddUnless(
                conditional.PrefillBusyThreshold is null,
                "conditional_disagg_prefill_busy_threshold",
                CardNumber.Float(conditional.PrefillBusyThreshold)
            );
            AddUnless(
                conditional.DecodeBusyThreshold is null,
                "conditional_disagg_decode_busy_threshold",
                CardNumber.Float(conditional.DecodeBusyThreshold)
            );
        }
    }

    private static JsonObject LoadThresholds(OptionValues options)
    {
        var json = new JsonObject();
        if (options.Get(RouterOptions.ActiveDecodeBlocksThreshold) is { } decodeBlocks)
        {
            json.Add("active_decode_blocks_threshold", CardNumber.Float(decodeBlocks));
        }

        if (options.Get(RouterOptions.ActivePrefillTokensThreshold) is { } prefillTokens)
        {
            json.Add("active_prefill_tokens_threshold", prefillTokens);
        }

        if (options.Get(RouterOptions.ActivePrefillTokensThresholdFrac) is { } fraction)
        {
            json.Add("active_prefill_tokens_threshold_frac", CardNumber.Float(fraction));
        }

        return json;
    }
}
