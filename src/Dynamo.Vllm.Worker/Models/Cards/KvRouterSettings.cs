using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Configuration.Options;

namespace Dynamo.Vllm.Worker.Models.Cards;

/// <summary>The KV router's settings with presets applied, as they go into the card.</summary>
internal sealed record KvRouterSettings
{
    /// <summary>What the card holds when the mode is not kv, whatever the flags say.</summary>
    public static KvRouterSettings Defaults { get; } = new();

    public double OverlapScoreCredit { get; init; } = 1;

    public double OverlapScoreCreditDecay { get; init; }

    public double PrefillLoadScale { get; init; } = 1;

    public double DecodeActiveRequestWeight { get; init; }

    public double HostCacheHitWeight { get; init; } = 0.75;

    public double DiskCacheHitWeight { get; init; } = 0.25;

    public double RouterTemperature { get; init; }

    public bool UseKvEvents { get; init; } = true;

    public bool RouterReplicaSync { get; init; }

    public bool RouterTrackActiveBlocks { get; init; } = true;

    public bool RouterTrackOutputBlocks { get; init; }

    public bool RouterAssumeKvReuse { get; init; } = true;

    public bool RouterTrackPrefillTokens { get; init; } = true;

    public string RouterTrackingHash { get; init; } = "public-xxh3-v1";

    public string? RouterTrackingKeyFile { get; init; }

    public string? RouterTrackingKeyId { get; init; }

    public string RouterPrefillLoadModel { get; init; } = "none";

    public double RouterTtlSeconds { get; init; } = 120;

    public string RouterApproximateCachePolicy { get; init; } = "ttl";

    public double? RouterQueueThreshold { get; init; }

    public string? RouterPolicyConfig { get; init; }

    public long RouterEventThreads { get; init; } = 4;

    public string RouterQueuePolicy { get; init; } = "fcfs";

    public bool UseRemoteIndexer { get; init; }

    public bool EnableSessionPrefixIndex { get; init; }

    public double? SharedCacheMultiplier { get; init; }

    public string SharedCacheType { get; init; } = "none";

    public double? RouterPredictedTtlSeconds { get; init; }

    public bool ConditionalEnabled { get; init; }

    public ConditionalDisaggregationSettings Conditional { get; init; } = new();

    /// <exception cref="ConfigurationException">A value that the reference refuses when it builds this object.</exception>
    public static KvRouterSettings From(OptionValues options)
    {
        var settings = new KvRouterSettings
        {
            OverlapScoreCredit = options.Get(RouterOptions.OverlapScoreCredit),
            OverlapScoreCreditDecay = options.Get(RouterOptions.OverlapScoreCreditDecay),

            // The old weight is the load scale under its first name, and wins over it.
            PrefillLoadScale = options.Get(RouterOptions.OverlapScoreWeight) ?? options.Get(RouterOptions.PrefillLoadScale),
            DecodeActiveRequestWeight = options.Get(RouterOptions.DecodeActiveRequestWeight),
            HostCacheHitWeight = options.Get(RouterOptions.HostCacheHitWeight),
            DiskCacheHitWeight = options.Get(RouterOptions.DiskCacheHitWeight),
            RouterTemperature = options.Get(RouterOptions.RouterTemperature),
            UseKvEvents = options.Get(RouterOptions.UseKvEvents),
            RouterReplicaSync = options.Get(RouterOptions.RouterReplicaSync),
            RouterTrackActiveBlocks = options.Get(RouterOptions.RouterTrackActiveBlocks),
            RouterTrackOutputBlocks = options.Get(RouterOptions.RouterTrackOutputBlocks),
            RouterAssumeKvReuse = options.Get(RouterOptions.RouterAssumeKvReuse),
            RouterTrackPrefillTokens = options.Get(RouterOptions.RouterTrackPrefillTokens),
            RouterTrackingHash = options.Get(RouterOptions.RouterTrackingHash),
            RouterTrackingKeyFile = options.Get(RouterOptions.RouterTrackingKeyFile),
            RouterTrackingKeyId = options.Get(RouterOptions.RouterTrackingKeyId),
            RouterPrefillLoadModel = options.Get(RouterOptions.RouterPrefillLoadModel),
            RouterTtlSeconds = options.Get(RouterOptions.RouterTtlSeconds),
            RouterApproximateCachePolicy = options.Get(RouterOptions.RouterApproximateCachePolicy),
            RouterQueueThreshold = options.Get(RouterOptions.RouterQueueThreshold),
            RouterPolicyConfig = options.Get(RouterOptions.RouterPolicyConfig),
            RouterEventThreads = options.Get(RouterOptions.RouterEventThreads),
            RouterQueuePolicy = options.Get(RouterOptions.RouterQueuePolicy),
            UseRemoteIndexer = options.Get(RouterOptions.UseRemoteIndexer),
            EnableSessionPrefixIndex = options.Get(RouterOptions.EnableSessionPrefixIndex),
            SharedCacheMultiplier = options.Get(RouterOptions.SharedCacheMultiplier),
            SharedCacheType = options.Get(RouterOptions.SharedCacheType),
            RouterPredictedTtlSeconds = options.Get(RouterOptions.RouterPredictedTtlSeconds),
            ConditionalEnabled = options.Get(RouterOptions.ConditionalDisaggregationEnabled),
            Conditional = ResolveConditional(options),
        };
        settings = options.Get(RouterOptions.LoadAware) ? settings.LoadAware() : settings;
        RouterLimits.Check(settings);
        return settings;
    }

    /// <summary>The preset for routing by load alone: nothing that asks for cached prefixes.</summary>
    private KvRouterSettings LoadAware() =>
        this with
        {
            OverlapScoreCredit = 0,
            UseKvEvents = false,
            RouterTrackActiveBlocks = true,
            RouterAssumeKvReuse = false,
            RouterTrackPrefillTokens = true,
            UseRemoteIndexer = false,
            SharedCacheMultiplier = 0,
            SharedCacheType = "none",
            RouterPredictedTtlSeconds = null,
        };

    private static ConditionalDisaggregationSettings ResolveConditional(OptionValues options)
    {
        if (
            options.Get(RouterOptions.ConditionalDisaggregation) is not null
            && !options.Get(RouterOptions.ConditionalDisaggregationEnabled)
        )
        {
            throw new ConfigurationException("--router-conditional-disagg-config requires --router-conditional-disagg");
        }

        var conditional = options.Get(RouterOptions.ConditionalDisaggregation) ?? new ConditionalDisaggregationSettings();
        var judgesLoad = conditional.Policy is "prefill_load" or "isl_or_load";
        if (!options.Get(RouterOptions.ConditionalDisaggregationEnabled) || !judgesLoad || conditional.PrefillBusyThreshold is not null)
        {
            return conditional;
        }

        return options.Get(RouterOptions.RouterQueueThreshold) is { } threshold
            ? conditional with
            {
                PrefillBusyThreshold = threshold,
            }
            : throw new ConfigurationException(
                $"conditional_disagg policy='{conditional.Policy}' needs prefill_busy_threshold, but neither prefill_busy_threshold nor "
                    + "--router-queue-threshold is set"
            );
    }
}
