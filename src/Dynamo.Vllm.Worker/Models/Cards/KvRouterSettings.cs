using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Configuration.Options;

namespace Dynamo.Vllm.Worker.Models.Cards;

/// <summary>The router's options as they go into the card: older names and presets applied.</summary>
internal static class KvRouterSettings
{
    /// <summary>What the card holds when the mode is not kv, whatever the flags say.</summary>
    public static OptionValues Defaults { get; } = OptionValues.DefaultsOf(RouterOptions.All);

    /// <exception cref="ConfigurationException">A value that the reference refuses when it builds this object.</exception>
    public static (OptionValues Settings, bool ServesIndexer) Resolve(OptionValues options)
    {
        var settings = options.With(RouterOptions.ConditionalDisaggregation, ResolveConditional(options));
        if (options.Get(RouterOptions.OverlapScoreWeight) is { } weight)
        {
            // The load scale under its first name, which wins over it.
            settings = settings.With(RouterOptions.PrefillLoadScale, weight);
        }

        settings = options.Get(RouterOptions.LoadAware) ? LoadAware(settings) : settings;
        var servesIndexer = false;
        if (options.Get(RouterOptions.RouterPolicyConfig) is { } path)
        {
            (settings, servesIndexer) = RouterPolicyFile.Apply(settings, path);
        }

        RouterLimits.Check(settings);
        return (settings, servesIndexer);
    }

    /// <summary>The preset for routing by load alone: nothing that asks for cached prefixes.</summary>
    private static OptionValues LoadAware(OptionValues settings) =>
        settings
            .With(RouterOptions.OverlapScoreCredit, 0)
            .With(RouterOptions.UseKvEvents, false)
            .With(RouterOptions.RouterTrackActiveBlocks, true)
            .With(RouterOptions.RouterAssumeKvReuse, false)
            .With(RouterOptions.RouterTrackPrefillTokens, true)
            .With(RouterOptions.UseRemoteIndexer, false)
            .With(RouterOptions.SharedCacheMultiplier, 0)
            .With(RouterOptions.SharedCacheType, "none")
            .With(RouterOptions.RouterPredictedTtlSeconds, null);

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
