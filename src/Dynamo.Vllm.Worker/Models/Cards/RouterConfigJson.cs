using System.Text.Json.Nodes;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Configuration.Options;
using Dynamo.Vllm.Worker.Configuration.Parsing;

namespace Dynamo.Vllm.Worker.Models.Cards;

/// <summary>Builds the <c>router_config</c> object of the model card.</summary>
/// <remarks>
/// Order and number format matter: the card's checksum covers the compact text of this object. Captured from register_model 1.6.1:
/// <c>kv_router_config</c> is present in every mode, with its defaults where the mode is not kv, and fields that the option table marks are
/// left out at their default. Two options never reach the card: the approximate cache policy and the two worker-selection names.
/// </remarks>
public static class RouterConfigJson
{
    private const long InputTokensThresholdDefault = 2048;
    private const double InputRatioThresholdDefault = 0.7;

    // Fields that no option of a worker can set, and what they stand behind.
    private static readonly Dictionary<OptionDefinition, string> Constants = new()
    {
        [RouterOptions.RouterEventThreads] = "skip_initial_worker_wait",
        [RouterOptions.UseRemoteIndexer] = "serve_indexer",
    };

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

        var (settings, servesIndexer) = mode == "k_v" ? KvRouterSettings.Resolve(options) : (KvRouterSettings.Defaults, false);
        RouterLimits.CheckCommon(options);
        var json = new JsonObject
        {
            ["router_mode"] = mode,
            ["kv_router_config"] = KvRouterConfig(settings, servesIndexer),
            ["load_threshold_config"] = Fields(CardSection.LoadThresholds, options),
            ["enforce_disagg"] = false,
        };
        AddFields(json, CardSection.Router, options);
        return json;
    }

    private static JsonObject KvRouterConfig(OptionValues settings, bool servesIndexer)
    {
        var json = Fields(CardSection.KvRouter, settings);
        json[Constants[RouterOptions.UseRemoteIndexer]] = servesIndexer;
        if (settings.Get(RouterOptions.ConditionalDisaggregationEnabled))
        {
            json.Add("conditional_disagg_enabled", true);
        }

        if (settings.Get(RouterOptions.ConditionalDisaggregation) is { } conditional)
        {
            AddConditionalDisaggregation(json, conditional);
        }

        return json;
    }

    private static void AddConditionalDisaggregation(JsonObject json, ConditionalDisaggregationSettings conditional)
    {
        AddUnless(conditional.Policy is null or "isl_bounding", "policy", conditional.Policy);
        AddUnless(
            (conditional.InputTokensThreshold ?? InputTokensThresholdDefault) == InputTokensThresholdDefault,
            "eff_isl_threshold",
            conditional.InputTokensThreshold
        );
        AddUnless(
            (conditional.InputRatioThreshold ?? InputRatioThresholdDefault) == InputRatioThresholdDefault,
            "eff_isl_ratio_threshold",
            CardNumber.Float(conditional.InputRatioThreshold)
        );
        AddUnless(conditional.PrefillBusyThreshold is null, "prefill_busy_threshold", CardNumber.Float(conditional.PrefillBusyThreshold));
        AddUnless(conditional.DecodeBusyThreshold is null, "decode_busy_threshold", CardNumber.Float(conditional.DecodeBusyThreshold));

        void AddUnless(bool absent, string name, JsonNode? value)
        {
            if (!absent)
            {
                json.Add("conditional_disagg_" + name, value);
            }
        }
    }

    private static JsonObject Fields(CardSection section, OptionValues values)
    {
        var json = new JsonObject();
        AddFields(json, section, values);
        return json;
    }

    /// <summary>In the order of the table, which is the card's.</summary>
    private static void AddFields(JsonObject json, CardSection section, OptionValues values)
    {
        foreach (var option in RouterOptions.All.Where(option => option.Card?.Section == section))
        {
            var value = ValueOf(option, values.GetRaw(option));
            if (!option.Card!.IsAbsentAtDefault || !JsonNode.DeepEquals(value, ValueOf(option, option.Default)))
            {
                json.Add(option.Destination, value);
            }

            if (Constants.TryGetValue(option, out var constant))
            {
                json.Add(constant, false);
            }
        }
    }

    private static JsonNode? ValueOf(OptionDefinition option, object? value) =>
        value switch
        {
            null => null,
            bool flag => flag,
            long number when option.Kind is OptionKind.Integer or OptionKind.NullableInteger => number,
            long number => CardNumber.Float(number),
            double number => CardNumber.Float(number),

            // Renamed on the command line, but not on the wire.
            "ais" when option == RouterOptions.RouterPrefillLoadModel => "aic",
            string text => text,
            _ => throw new InvalidOperationException($"{option.Destination} has no form in the card"),
        };
}
