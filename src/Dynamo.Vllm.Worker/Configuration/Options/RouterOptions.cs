namespace Dynamo.Vllm.Worker.Configuration.Options;

/// <summary>The router advertisement options, parsed by their own parser, the only one that takes abbreviations.</summary>
/// <remarks>Order, defaults and texts are those of <c>tests/golden/worker/help-full.txt</c>; a test compares them line by line.</remarks>
public static class RouterOptions
{
    public static Option<string?> RouterMode { get; } =
        Option.OptionalText(
            "--router-mode",
            "DYN_ROUTER_MODE",
            choices: ["round-robin", "random", "power-of-two", "kv", "direct", "least-loaded", "device-aware-weighted"],
            help: "How to route the request. power-of-two picks 2 random workers and routes to the one with fewer in-flight "
                + "requests. least-loaded routes to the worker with the fewest active requests. device-aware-weighted routes based "
                + "on worker device type (CPU/CUDA). In disaggregated prefill mode, both power-of-two and least-loaded skip "
                + "bootstrap optimization and fall back to the synchronous prefill path."
        );

    public static Option<long?> SessionAffinityTtlSeconds { get; } =
        Option
            .OptionalInteger(
                "--router-session-affinity-ttl-secs",
                "DYN_ROUTER_SESSION_AFFINITY_TTL_SECS",
                destination: "session_affinity_ttl_secs",
                help: "Enable session affinity with this router-local idle TTL in seconds. Bindings synchronize across router replicas "
                    + "on a best-effort basis. Affinity is disabled when this option is omitted. This is independent of KV prediction "
                    + "TTL settings."
            )
            .OnCard(CardSection.Router);

    public static Option<string> SessionAffinityMode { get; } =
        Option
            .Text(
                "--router-session-affinity-mode",
                "DYN_ROUTER_SESSION_AFFINITY_MODE",
                "hard",
                destination: "session_affinity_mode",
                choices: ["hard", "soft"],
                help: "How an existing session binding participates in worker selection. hard makes the binding an exact constraint; "
                    + "soft exposes it as a policy-visible preference."
            )
            .OnCard(CardSection.Router);

    public static Option<double?> ActiveDecodeBlocksThreshold { get; } =
        Option
            .NullableFloat(
                "--active-decode-blocks-threshold",
                "DYN_ACTIVE_DECODE_BLOCKS_THRESHOLD",
                help: "Threshold fraction (0.0-1.0) of KV cache block utilization above which a worker is considered busy. Setting a "
                    + "numeric value enables this rejection check. Unset by default; pass 'None' to disable it."
            )
            .OnCardUnlessDefault(CardSection.LoadThresholds);

    public static Option<long?> ActivePrefillTokensThreshold { get; } =
        Option
            .NullableInteger(
                "--active-prefill-tokens-threshold",
                "DYN_ACTIVE_PREFILL_TOKENS_THRESHOLD",
                help: "Literal token count threshold for determining when a worker is considered busy based on prefill token "
                    + "utilization. When active prefill tokens exceed this threshold, the worker is marked as busy. Setting a numeric "
                    + "value enables this rejection check. Unset by default; pass 'None' to disable it. Uses OR logic with "
                    + "--active-prefill-tokens-threshold-frac."
            )
            .OnCardUnlessDefault(CardSection.LoadThresholds);

    public static Option<double?> ActivePrefillTokensThresholdFrac { get; } =
        Option
            .NullableFloat(
                "--active-prefill-tokens-threshold-frac",
                "DYN_ACTIVE_PREFILL_TOKENS_THRESHOLD_FRAC",
                help: "Fraction of max_num_batched_tokens for busy detection. Worker is busy when active_prefill_tokens > frac * "
                    + "max_num_batched_tokens. Setting a numeric value enables this rejection check. Unset by default; pass 'None' to "
                    + "disable it. Uses OR logic with --active-prefill-tokens-threshold."
            )
            .OnCardUnlessDefault(CardSection.LoadThresholds);

    public static Option<bool> LoadAware { get; } =
        Option.Boolean(
            "--load-aware",
            "DYN_ROUTER_LOAD_AWARE",
            false,
            replacement: "the load-only policy and router tracking settings in --router-policy-config",
            help: "KV Router: Enable the load-aware routing preset. On the frontend, this implies --router-mode kv. This preset sets "
                + "overlap_score_credit=0, disables KV events and KV-reuse assumptions, enables active-block and prefill-token load "
                + "tracking, and disables remote/shared cache indexers. The builtin policy does not request cache inputs in this mode."
        );

    public static Option<double> OverlapScoreCredit { get; } =
        Option
            .Float(
                "--router-kv-overlap-score-credit",
                "DYN_ROUTER_KV_OVERLAP_SCORE_CREDIT",
                1.0,
                destination: "overlap_score_credit",
                replacement: "overlap_score_credit in the default policy parameters in --router-policy-config",
                help: "KV Router: Credit multiplier for device-local prefix overlap. Must be finite and non-negative; values above 1.0 "
                    + "give device overlap extra credit, with adjusted prefill cost clamped at zero."
            )
            .OnCard(CardSection.KvRouter);

    public static Option<double> OverlapScoreCreditDecay { get; } =
        Option
            .Float(
                "--router-kv-overlap-score-credit-decay",
                "DYN_ROUTER_KV_OVERLAP_SCORE_CREDIT_DECAY",
                0.0,
                destination: "overlap_score_credit_decay",
                replacement: "overlap_score_credit_decay in the default policy parameters in --router-policy-config",
                help: "KV Router: Decay rate for device-local overlap credit as active prefill load rises above the least-loaded "
                    + "eligible worker. 0 disables decay; 1 halves credit at one request-equivalent of excess active prefill load."
            )
            .OnCard(CardSection.KvRouter);

    public static Option<double?> OverlapScoreWeight { get; } =
        Option.OptionalFloat(
            "--router-kv-overlap-score-weight",
            "DYN_ROUTER_KV_OVERLAP_SCORE_WEIGHT",
            destination: "overlap_score_weight",
            obsoleteFlag: "--kv-overlap-score-weight",
            olderEnvironment: "DYN_OVERLAP_SCORE_WEIGHT",
            replacement: "prefill_load_scale in the default policy parameters in --router-policy-config",
            hidden: true
        );

    public static Option<double> PrefillLoadScale { get; } =
        Option
            .Float(
                "--router-prefill-load-scale",
                "DYN_ROUTER_PREFILL_LOAD_SCALE",
                1.0,
                destination: "prefill_load_scale",
                replacement: "prefill_load_scale in the default policy parameters in --router-policy-config",
                help: "KV Router: Scale applied to adjusted prompt-side prefill load after overlap and lower-tier cache-hit credits are "
                    + "subtracted."
            )
            .OnCard(CardSection.KvRouter);

    public static Option<double> DecodeActiveRequestWeight { get; } =
        Option
            .Float(
                "--router-decode-active-request-weight",
                "DYN_ROUTER_DECODE_ACTIVE_REQUEST_WEIGHT",
                0.0,
                destination: "decode_active_request_weight",
                replacement: "decode_active_request_weight in the default policy parameters in --router-policy-config",
                help: "[EXPERIMENTAL] KV Router: Block-equivalent decode cost added for each active request on a candidate worker. Use "
                    + "this to balance decode batch size when step latency depends more on request count than resident KV footprint. "
                    + "Must be finite and non-negative."
            )
            .OnCardUnlessDefault(CardSection.KvRouter);

    public static Option<double> HostCacheHitWeight { get; } =
        Option
            .Float(
                "--router-host-cache-hit-weight",
                "DYN_ROUTER_HOST_CACHE_HIT_WEIGHT",
                0.75,
                destination: "host_cache_hit_weight",
                help: "KV Router: Credit multiplier for host-pinned (CPU offload) prefix overlap. Range: 0.0 to 1.0; higher values more "
                    + "strongly prefer workers holding the prefix in CPU-tier KV cache. Symmetric to --router-kv-overlap-score-credit "
                    + "but applied to host_pinned tier overlap."
            )
            .OnCard(CardSection.KvRouter);

    public static Option<double> DiskCacheHitWeight { get; } =
        Option
            .Float(
                "--router-disk-cache-hit-weight",
                "DYN_ROUTER_DISK_CACHE_HIT_WEIGHT",
                0.25,
                destination: "disk_cache_hit_weight",
                help: "KV Router: Credit multiplier for disk/lower-tier (e.g. NVMe-backed) prefix overlap. Range: 0.0 to 1.0. Same "
                    + "semantics as --router-host-cache-hit-weight applied to the disk tier."
            )
            .OnCard(CardSection.KvRouter);

    public static Option<double> RouterTemperature { get; } =
        Option
            .Float(
                "--router-temperature",
                "DYN_ROUTER_TEMPERATURE",
                0.0,
                replacement: "router_temperature in the default policy parameters in --router-policy-config",
                help: "KV Router: Temperature for normalized worker sampling via softmax. Higher values promote more randomness, and 0 "
                    + "falls back to deterministic."
            )
            .OnCard(CardSection.KvRouter);

    public static Option<bool> UseKvEvents { get; } =
        Option
            .Boolean(
                "--router-kv-events",
                "DYN_ROUTER_USE_KV_EVENTS",
                true,
                destination: "use_kv_events",
                obsoleteFlag: "--kv-events",
                help: "KV Router: Enable/disable KV events. Use --router-kv-events to enable (default, router receives cache state "
                    + "events from workers) or --no-router-kv-events to disable (router predicts cache state based on routing decisions)."
            )
            .OnCard(CardSection.KvRouter);

    public static Option<bool> RouterReplicaSync { get; } =
        Option
            .Boolean(
                "--router-replica-sync",
                "DYN_ROUTER_REPLICA_SYNC",
                false,
                help: "KV Router: Enable best-effort active-sequence synchronization through the Runtime event plane."
            )
            .OnCard(CardSection.KvRouter);

    public static Option<bool> RouterTrackActiveBlocks { get; } =
        Option
            .Boolean(
                "--router-track-active-blocks",
                "DYN_ROUTER_TRACK_ACTIVE_BLOCKS",
                true,
                obsoleteFlag: "--track-active-blocks",
                help: "KV Router: Track active blocks (blocks being used for ongoing generation). By default, active blocks are tracked "
                    + "for load balancing."
            )
            .OnCard(CardSection.KvRouter);

    public static Option<bool> RouterTrackOutputBlocks { get; } =
        Option
            .Boolean(
                "--router-track-output-blocks",
                "DYN_ROUTER_TRACK_OUTPUT_BLOCKS",
                false,
                obsoleteFlag: "--track-output-blocks",
                help: "KV Router: Track output blocks during generation. When enabled, the router adds placeholder blocks as tokens are "
                    + "generated. With expected output sequence length, fractional decay applies to output blocks and the structurally "
                    + "exclusive prompt suffix; shared prompt blocks retain full weight."
            )
            .OnCard(CardSection.KvRouter);

    public static Option<bool> RouterAssumeKvReuse { get; } =
        Option
            .Boolean(
                "--router-assume-kv-reuse",
                "DYN_ROUTER_ASSUME_KV_REUSE",
                true,
                obsoleteFlag: "--assume-kv-reuse",
                help: "KV Router: When tracking active blocks, assume KV cache reuse. Use --no-router-assume-kv-reuse to generate random "
                    + "hashes instead (when KV cache reuse is not expected)."
            )
            .OnCard(CardSection.KvRouter);

    public static Option<bool> RouterTrackPrefillTokens { get; } =
        Option
            .Boolean(
                "--router-track-prefill-tokens",
                "DYN_ROUTER_TRACK_PREFILL_TOKENS",
                true,
                help: "KV Router: Include prompt-side prefill tokens in active load accounting. Use --no-router-track-prefill-tokens to "
                    + "ignore prompt tokens in router prefill-token load, queue pressure, and active_prefill_tokens metrics."
            )
            .OnCard(CardSection.KvRouter);

    public static Option<string> RouterTrackingHash { get; } =
        Option
            .Text(
                "--router-tracking-hash",
                "DYN_ROUTER_TRACKING_HASH",
                "public-xxh3-v1",
                choices: ["public-xxh3-v1", "keyed-xxh3-v1"],
                help: "KV Router: Hash function for router-derived active-sequence identities."
            )
            .OnCardUnlessDefault(CardSection.KvRouter);

    public static Option<string?> RouterTrackingKeyFile { get; } =
        Option
            .OptionalText(
                "--router-tracking-key-file",
                "DYN_ROUTER_TRACKING_KEY_FILE",
                help: "KV Router: File containing the 32-byte provider tracking key."
            )
            .OnCardUnlessDefault(CardSection.KvRouter);

    public static Option<string?> RouterTrackingKeyId { get; } =
        Option
            .OptionalText(
                "--router-tracking-key-id",
                "DYN_ROUTER_TRACKING_KEY_ID",
                help: "KV Router: Provider-managed tracking-key epoch identifier."
            )
            .OnCardUnlessDefault(CardSection.KvRouter);

    public static Option<string> RouterPrefillLoadModel { get; } =
        Option
            .PrefillLoadModel(
                "--router-prefill-load-model",
                "DYN_ROUTER_PREFILL_LOAD_MODEL",
                "none",
                choices: ["none", "ais"],
                help: "[EXPERIMENTAL] KV Router: Prompt-side prefill load model. 'none' keeps static prompt load accounting. 'ais' "
                    + "decays the oldest active prefill request using AISimulate-predicted duration."
            )
            .OnCard(CardSection.KvRouter);

    public static Option<double> RouterTtlSeconds { get; } =
        Option
            .Float(
                "--router-ttl-secs",
                "DYN_ROUTER_TTL_SECS",
                120.0,
                help: "KV Router: Time-to-live in seconds for blocks when KV events are disabled. Only used when "
                    + "--no-router-kv-events is set."
            )
            .OnCard(CardSection.KvRouter);

    public static Option<string> RouterApproximateCachePolicy { get; } =
        Option.Text(
            "--router-approximate-cache-policy",
            "DYN_ROUTER_APPROXIMATE_CACHE_POLICY",
            "ttl",
            choices: ["ttl", "lru"],
            help: "[EXPERIMENTAL] KV Router: Retention policy for the local primary approximate indexer used with "
                + "--no-router-kv-events. 'ttl' keeps the existing time-based behavior; 'lru' uses each worker rank's advertised KV "
                + "capacity. Side indexers remain TTL-only."
        );

    public static Option<double?> RouterQueueThreshold { get; } =
        Option
            .NullableFloat(
                "--router-queue-threshold",
                "DYN_ROUTER_QUEUE_THRESHOLD",
                replacement: "policy_classes[].prefill_busy_threshold_frac in --router-policy-config",
                help: "KV Router: Queue threshold fraction for prefill token capacity. Requests are queued if all workers exceed this "
                    + "fraction of max_num_batched_tokens. Must be >= 0. Use 0.0 for maximum queueing sensitivity (queue once every "
                    + "eligible worker has active prefill load). Unset by default; setting a numeric value enables router queueing. Note "
                    + "(SGLang backend): when --max-prefill-tokens is not set, MDC's max_num_batched_tokens falls back to "
                    + "max_total_num_tokens (the KV cache pool size), not the per-step prefill window, which inflates the threshold's "
                    + "effective denominator. Set --max-prefill-tokens explicitly for predictable semantics, or use a smaller threshold."
            )
            .OnCard(CardSection.KvRouter);

    public static Option<string?> RouterPolicyConfig { get; } =
        Option
            .OptionalText(
                "--router-policy-config",
                "DYN_ROUTER_POLICY_CONFIG",
                help: "KV Router: Startup-only YAML configuration for shared router settings, policy-class queues, and worker-selection "
                    + "instances. When omitted, router_queue_threshold and router_queue_policy define one synthetic policy class; "
                    + "queueing remains disabled unless router_queue_threshold is set."
            )
            .OnCard(CardSection.KvRouter);

    public static Option<bool> ConditionalDisaggregationEnabled { get; } =
        Option.Boolean(
            "--router-conditional-disagg",
            "DYN_ROUTER_CONDITIONAL_DISAGG",
            false,
            destination: "conditional_disagg_enabled",
            help: "[EXPERIMENTAL] KV Router: Enable conditional disaggregation. When enabled, the router may bypass the remote "
                + "prefill step and route requests directly to a decode worker. The configured policy determines whether local "
                + "prefill and decode is preferable for each request."
        );

    public static Option<ConditionalDisaggregationSettings?> ConditionalDisaggregation { get; } =
        Option.ConditionalDisaggregation(
            "--router-conditional-disagg-config",
            "DYN_ROUTER_CONDITIONAL_DISAGG_CONFIG",
            destination: "conditional_disagg_config",
            help: "[EXPERIMENTAL] KV Router: JSON object for conditional disaggregation policy settings. Supported fields: policy, "
                + "eff_isl_threshold, eff_isl_ratio_threshold, prefill_busy_threshold, decode_busy_threshold."
        );

    public static Option<string?> RouterPrefillPolicy { get; } =
        Option.OptionalText(
            "--router-prefill-policy",
            "DYN_ROUTER_PREFILL_POLICY",
            replacement: "worker_selection.prefill in --router-policy-config",
            help: "KV Router: Process-local named worker-selection instance for disaggregated prefill workers in this router "
                + "process. Overrides worker_selection.prefill from --router-policy-config. Use 'default' for Dynamo's built-in "
                + "worker selector."
        );

    public static Option<string?> RouterDecodePolicy { get; } =
        Option.OptionalText(
            "--router-decode-policy",
            "DYN_ROUTER_DECODE_POLICY",
            replacement: "worker_selection.decode in --router-policy-config",
            help: "KV Router: Process-local named worker-selection instance for decode workers in this router process. Overrides "
                + "worker_selection.decode from --router-policy-config. Use 'default' for Dynamo's built-in worker selector."
        );

    public static Option<long> RouterEventThreads { get; } =
        Option
            .Integer(
                "--router-event-threads",
                "DYN_ROUTER_EVENT_THREADS",
                4,
                help: "KV Router: Number of KV indexer worker threads. When > 1, uses a concurrent radix tree with a thread pool for "
                    + "higher throughput, including approximate routing when --no-router-kv-events is set."
            )
            .OnCard(CardSection.KvRouter);

    public static Option<string> RouterQueuePolicy { get; } =
        Option
            .Text(
                "--router-queue-policy",
                "DYN_ROUTER_QUEUE_POLICY",
                "fcfs",
                choices: ["fcfs", "wspt"],
                replacement: "policy_classes[].queue_policy in --router-policy-config",
                help: "KV Router: Scheduling policy for the router queue. 'fcfs' (default): first-come first-served with priority bumps "
                    + "\u2014 optimizes tail TTFT. 'wspt': weighted shortest processing time (Smith's rule) \u2014 optimizes average TTFT."
            )
            .OnCard(CardSection.KvRouter);

    public static Option<bool> UseRemoteIndexer { get; } =
        Option
            .Boolean(
                "--use-remote-indexer",
                "DYN_USE_REMOTE_INDEXER",
                false,
                help: "[EXPERIMENTAL] KV Router: Query a remote KV indexer served from the worker component via the request plane "
                    + "instead of maintaining a local radix tree."
            )
            .OnCard(CardSection.KvRouter);

    public static Option<bool> EnableSessionPrefixIndex { get; } =
        Option
            .Boolean(
                "--enable-session-prefix-index",
                "DYN_ENABLE_SESSION_PREFIX_INDEX",
                false,
                help: "[EXPERIMENTAL] KV Router: Track per-session block lineage in a logical prefix index that outlives engine cache "
                    + "eviction. Nothing consumes the index for routing decisions yet."
            )
            .OnCardUnlessDefault(CardSection.KvRouter);

    public static Option<double?> SharedCacheMultiplier { get; } =
        Option
            .OptionalFloat(
                "--shared-cache-multiplier",
                "DYN_SHARED_CACHE_MULTIPLIER",
                replacement: "shared_cache_multiplier in the default policy parameters in --router-policy-config",
                help: "[EXPERIMENTAL] KV Router: Multiplier for shared cache hits (0.0-1.0). Blocks in the shared cache are less "
                    + "valuable than device-local blocks. E.g. 0.5 means each shared hit counts as half a device-local hit. The default "
                    + "policy uses 0.5 when shared cache is enabled."
            )
            .OnCardUnlessDefault(CardSection.KvRouter);

    public static Option<string> SharedCacheType { get; } =
        Option
            .Text(
                "--shared-cache-type",
                "DYN_SHARED_CACHE_TYPE",
                "none",
                choices: ["none", "hicache"],
                help: "[EXPERIMENTAL] KV Router: Type of external shared KV cache to query. 'none' (default): disabled. 'hicache': query "
                    + "Mooncake master directly for SGLang L3 (HiCache) state using SGLang-compatible Mooncake key derivation."
            )
            .OnCard(CardSection.KvRouter);

    public static Option<double?> RouterPredictedTtlSeconds { get; } =
        Option
            .OptionalFloat(
                "--router-predicted-ttl-secs",
                "DYN_ROUTER_PREDICTED_TTL_SECS",
                help: "KV Router: Enable predict-on-route with this TTL in seconds for entries in the local side indexer. Requires KV "
                    + "events; omit to disable. Independent of --router-ttl-secs, which covers pure approximate mode."
            )
            .OnCard(CardSection.KvRouter);

    /// <summary>In the order of the help.</summary>
    public static IReadOnlyList<OptionDefinition> All { get; } =
    [
        RouterMode,
        SessionAffinityTtlSeconds,
        SessionAffinityMode,
        ActiveDecodeBlocksThreshold,
        ActivePrefillTokensThreshold,
        ActivePrefillTokensThresholdFrac,
        LoadAware,
        OverlapScoreCredit,
        OverlapScoreCreditDecay,
        OverlapScoreWeight,
        PrefillLoadScale,
        DecodeActiveRequestWeight,
        HostCacheHitWeight,
        DiskCacheHitWeight,
        RouterTemperature,
        UseKvEvents,
        RouterReplicaSync,
        RouterTrackActiveBlocks,
        RouterTrackOutputBlocks,
        RouterAssumeKvReuse,
        RouterTrackPrefillTokens,
        RouterTrackingHash,
        RouterTrackingKeyFile,
        RouterTrackingKeyId,
        RouterPrefillLoadModel,
        RouterTtlSeconds,
        RouterApproximateCachePolicy,
        RouterQueueThreshold,
        RouterPolicyConfig,
        ConditionalDisaggregationEnabled,
        ConditionalDisaggregation,
        RouterPrefillPolicy,
        RouterDecodePolicy,
        RouterEventThreads,
        RouterQueuePolicy,
        UseRemoteIndexer,
        EnableSessionPrefixIndex,
        SharedCacheMultiplier,
        SharedCacheType,
        RouterPredictedTtlSeconds,
    ];
}
