using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Configuration.Options;
using Dynamo.Vllm.Worker.Configuration.Parsing;

namespace Dynamo.Vllm.Worker.Models.Cards;

/// <summary>The limits that the reference's compiled router configuration enforces; sentences captured from it.</summary>
internal static class RouterLimits
{
    private const long SessionTtlSecondsMax = 31_536_000;
    private const string KeyedHash = "keyed-xxh3-v1";

    /// <summary>Limits that hold in every mode.</summary>
    public static void CheckCommon(OptionValues options)
    {
        Require(
            options.Get(RouterOptions.SessionAffinityTtlSeconds) is null or (>= 1 and <= SessionTtlSecondsMax),
            $"session_affinity_ttl_secs must be between 1 and {SessionTtlSecondsMax}"
        );
        RequireWord("session affinity mode", options.Get(RouterOptions.SessionAffinityMode), "hard", "soft");
        Require(
            options.Get(RouterOptions.ActiveDecodeBlocksThreshold) is null or (>= 0 and <= 1),
            "active_decode_blocks_threshold must be between 0.0 and 1.0, got "
                + PythonText.Display(options.Get(RouterOptions.ActiveDecodeBlocksThreshold))
        );
        Require(
            options.Get(RouterOptions.ActivePrefillTokensThreshold) is null or >= 0,
            "active_prefill_tokens_threshold must be greater than or equal to 0, got "
                + options.Get(RouterOptions.ActivePrefillTokensThreshold)
        );
        Require(
            options.Get(RouterOptions.ActivePrefillTokensThresholdFrac) is not { } fraction || (double.IsFinite(fraction) && fraction >= 0),
            "active_prefill_tokens_threshold_frac must be a finite value greater than or equal to 0.0, got "
                + PythonText.Display(options.Get(RouterOptions.ActivePrefillTokensThresholdFrac))
        );
    }

    /// <summary>Limits of the kv mode.</summary>
    public static void Check(OptionValues settings)
    {
        RequireNotNegative("overlap_score_credit", settings.Get(RouterOptions.OverlapScoreCredit));
        RequireNotNegative("overlap_score_credit_decay", settings.Get(RouterOptions.OverlapScoreCreditDecay));
        RequireNotNegative("prefill_load_scale", settings.Get(RouterOptions.PrefillLoadScale));
        RequireNotNegative("decode_active_request_weight", settings.Get(RouterOptions.DecodeActiveRequestWeight));
        RequireNotNegative("router_temperature", settings.Get(RouterOptions.RouterTemperature));
        RequireFraction("host_cache_hit_weight", settings.Get(RouterOptions.HostCacheHitWeight));
        RequireFraction("disk_cache_hit_weight", settings.Get(RouterOptions.DiskCacheHitWeight));
        RequireFraction("shared_cache_multiplier", settings.Get(RouterOptions.SharedCacheMultiplier) ?? 0);
        RequireNotNegative("router_ttl_secs", settings.Get(RouterOptions.RouterTtlSeconds));
        RequireNotNegative("router_queue_threshold", settings.Get(RouterOptions.RouterQueueThreshold) ?? 0);
        RequireNotNegative("router_predicted_ttl_secs", settings.Get(RouterOptions.RouterPredictedTtlSeconds) ?? 0);
        Require(settings.Get(RouterOptions.RouterEventThreads) >= 1, "router_event_threads must be at least 1");
        RequireWord("queue policy", settings.Get(RouterOptions.RouterQueuePolicy), "fcfs", "lcfs", "wspt");
        RequireWord("shared_cache_type", settings.Get(RouterOptions.SharedCacheType), "none", "hicache");
        RequireWord("prefill load model", settings.Get(RouterOptions.RouterPrefillLoadModel), "none", "ais");
        RequireWord("approximate cache policy", settings.Get(RouterOptions.RouterApproximateCachePolicy), "ttl", "lru");
        RequireWord(
            "conditional_disagg_policy",
            settings.Get(RouterOptions.ConditionalDisaggregation)?.Policy ?? "isl_bounding",
            "isl_bounding",
            "prefill_load",
            "isl_or_load"
        );
        CheckCombinations(settings);
    }

    private static void CheckCombinations(OptionValues settings)
    {
        var hash = settings.Get(RouterOptions.RouterTrackingHash);
        Require(hash is "public-xxh3-v1" or KeyedHash, $"router_tracking_hash must be public-xxh3-v1 or {KeyedHash}, got \"{hash}\"");
        var hasKey =
            settings.Get(RouterOptions.RouterTrackingKeyFile) is not null || settings.Get(RouterOptions.RouterTrackingKeyId) is not null;
        Require(hash == KeyedHash || !hasKey, $"router tracking key options require router_tracking_hash={KeyedHash}");
        Require(
            hash != KeyedHash || settings.Get(RouterOptions.RouterTrackingKeyFile) is not null,
            $"{KeyedHash} requires router_tracking_key_file"
        );
        Require(
            !settings.Get(RouterOptions.RouterTrackOutputBlocks) || settings.Get(RouterOptions.RouterTrackActiveBlocks),
            "router_track_output_blocks requires router_track_active_blocks=true"
        );
        Require(
            !settings.Get(RouterOptions.EnableSessionPrefixIndex) || settings.Get(RouterOptions.UseKvEvents),
            "enable_session_prefix_index requires use_kv_events=true"
        );
        Require(
            settings.Get(RouterOptions.RouterPredictedTtlSeconds) is null || settings.Get(RouterOptions.UseKvEvents),
            "router_predicted_ttl_secs requires use_kv_events=true"
        );
        Require(
            settings.Get(RouterOptions.RouterApproximateCachePolicy) != "lru" || !settings.Get(RouterOptions.UseKvEvents),
            "router_approximate_cache_policy=lru requires use_kv_events=false; the local side indexer is TTL-only"
        );
    }

    private static void RequireNotNegative(string name, double value) =>
        Require(double.IsFinite(value) && value >= 0, $"{name} must be finite and non-negative, got {PythonText.Float(value)}");

    private static void RequireFraction(string name, double value) =>
        Require(value is >= 0 and <= 1, $"{name} must be between 0 and 1, got {PythonText.Float(value)}");

    private static void RequireWord(string name, string word, params string[] allowed) =>
        Require(allowed.Contains(word), $"unknown {name}: \"{word}\", expected one of {string.Join(", ", allowed)}");

    private static void Require(bool holds, string message)
    {
        if (!holds)
        {
            throw new ConfigurationException(message);
        }
    }
}
