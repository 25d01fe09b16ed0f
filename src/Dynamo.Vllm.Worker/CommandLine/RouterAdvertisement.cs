using Dynamo.Vllm.Worker.CommandLine.Parsing;

namespace Dynamo.Vllm.Worker.CommandLine;

/// <summary>Routing that this worker set declares in its model card, to override the frontend's for itself only.</summary>
/// <remarks>
/// <c>use_kv_events</c> here tells the router to subscribe; whether this worker publishes is decided by <c>--kv-events-config</c>.
/// </remarks>
public sealed record RouterAdvertisement
{
    public required string RouterMode { get; init; }

    public long? SessionAffinityTtlSeconds { get; init; }

    public required string SessionAffinityMode { get; init; }

    public double? ActiveDecodeBlocksThreshold { get; init; }

    public long? ActivePrefillTokensThreshold { get; init; }

    public double? ActivePrefillTokensThresholdFrac { get; init; }

    public required bool LoadAware { get; init; }

    public required double OverlapScoreCredit { get; init; }

    public required double OverlapScoreCreditDecay { get; init; }

    public double? OverlapScoreWeight { get; init; }

    public required double PrefillLoadScale { get; init; }

    public required double DecodeActiveRequestWeight { get; init; }

    public required double HostCacheHitWeight { get; init; }

    public required double DiskCacheHitWeight { get; init; }

    public required double RouterTemperature { get; init; }

    public required bool UseKvEvents { get; init; }

    public required bool RouterReplicaSync { get; init; }

    public required bool RouterTrackActiveBlocks { get; init; }

    public required bool RouterTrackOutputBlocks { get; init; }

    public required bool RouterAssumeKvReuse { get; init; }

    public required bool RouterTrackPrefillTokens { get; init; }

    public required string RouterTrackingHash { get; init; }

    public string? RouterTrackingKeyFile { get; init; }

    public string? RouterTrackingKeyId { get; init; }

    public required string RouterPrefillLoadModel { get; init; }

    public required double RouterTtlSeconds { get; init; }

    public required string RouterApproximateCachePolicy { get; init; }

    public double? RouterQueueThreshold { get; init; }

    public string? RouterPolicyConfig { get; init; }

    public required bool ConditionalDisaggregationEnabled { get; init; }

    public ConditionalDisaggregationSettings? ConditionalDisaggregation { get; init; }

    public string? RouterPrefillPolicy { get; init; }

    public string? RouterDecodePolicy { get; init; }

    public required long RouterEventThreads { get; init; }

    public required string RouterQueuePolicy { get; init; }

    public required bool UseRemoteIndexer { get; init; }

    public required bool EnableSessionPrefixIndex { get; init; }

    public double? SharedCacheMultiplier { get; init; }

    public required string SharedCacheType { get; init; }

    public double? RouterPredictedTtlSeconds { get; init; }

    internal static RouterAdvertisement From(ParsedValues values) =>
        new()
        {
            RouterMode = values.RequiredText("router_mode"),
            SessionAffinityTtlSeconds = values.OptionalInteger("session_affinity_ttl_secs"),
            SessionAffinityMode = values.RequiredText("session_affinity_mode"),
            ActiveDecodeBlocksThreshold = values.OptionalFloat("active_decode_blocks_threshold"),
            ActivePrefillTokensThreshold = values.OptionalInteger("active_prefill_tokens_threshold"),
            ActivePrefillTokensThresholdFrac = values.OptionalFloat("active_prefill_tokens_threshold_frac"),
            LoadAware = values.Flag("load_aware"),
            OverlapScoreCredit = values.Float("overlap_score_credit"),
            OverlapScoreCreditDecay = values.Float("overlap_score_credit_decay"),
            OverlapScoreWeight = values.OptionalFloat("overlap_score_weight"),
            PrefillLoadScale = values.Float("prefill_load_scale"),
            DecodeActiveRequestWeight = values.Float("decode_active_request_weight"),
            HostCacheHitWeight = values.Float("host_cache_hit_weight"),
            DiskCacheHitWeight = values.Float("disk_cache_hit_weight"),
            RouterTemperature = values.Float("router_temperature"),
            UseKvEvents = values.Flag("use_kv_events"),
            RouterReplicaSync = values.Flag("router_replica_sync"),
            RouterTrackActiveBlocks = values.Flag("router_track_active_blocks"),
            RouterTrackOutputBlocks = values.Flag("router_track_output_blocks"),
            RouterAssumeKvReuse = values.Flag("router_assume_kv_reuse"),
            RouterTrackPrefillTokens = values.Flag("router_track_prefill_tokens"),
            RouterTrackingHash = values.RequiredText("router_tracking_hash"),
            RouterTrackingKeyFile = values.Text("router_tracking_key_file"),
            RouterTrackingKeyId = values.Text("router_tracking_key_id"),
            RouterPrefillLoadModel = values.RequiredText("router_prefill_load_model"),
            RouterTtlSeconds = values.Float("router_ttl_secs"),
            RouterApproximateCachePolicy = values.RequiredText("router_approximate_cache_policy"),
            RouterQueueThreshold = values.OptionalFloat("router_queue_threshold"),
            RouterPolicyConfig = values.Text("router_policy_config"),
            ConditionalDisaggregationEnabled = values.Flag("conditional_disagg_enabled"),
            ConditionalDisaggregation = values.Object<ConditionalDisaggregationSettings>("conditional_disagg_config"),
            RouterPrefillPolicy = values.Text("router_prefill_policy"),
            RouterDecodePolicy = values.Text("router_decode_policy"),
            RouterEventThreads = values.Integer("router_event_threads"),
            RouterQueuePolicy = values.RequiredText("router_queue_policy"),
            UseRemoteIndexer = values.Flag("use_remote_indexer"),
            EnableSessionPrefixIndex = values.Flag("enable_session_prefix_index"),
            SharedCacheMultiplier = values.OptionalFloat("shared_cache_multiplier"),
            SharedCacheType = values.RequiredText("shared_cache_type"),
            RouterPredictedTtlSeconds = values.OptionalFloat("router_predicted_ttl_secs"),
        };
}
