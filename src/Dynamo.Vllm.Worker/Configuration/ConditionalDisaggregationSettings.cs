using System.Text.Json;
using System.Text.Json.Nodes;

namespace Dynamo.Vllm.Worker.Configuration;

/// <summary>The object of <c>--router-conditional-disagg-config</c>; null fields were not given and keep their defaults.</summary>
public sealed record ConditionalDisaggregationSettings
{
    private const string Flag = "--router-conditional-disagg-config";

    private static readonly string[] Fields =
    [
        "policy",
        "eff_isl_threshold",
        "eff_isl_ratio_threshold",
        "prefill_busy_threshold",
        "decode_busy_threshold",
    ];

    public string? Policy { get; init; }

    /// <summary>Effective input length in tokens.</summary>
    public long? InputTokensThreshold { get; init; }

    public double? InputRatioThreshold { get; init; }

    public double? PrefillBusyThreshold { get; init; }

    public double? DecodeBusyThreshold { get; init; }

    /// <exception cref="FormatException">With the sentence that follows the option's name in the usage error.</exception>
    public static ConditionalDisaggregationSettings Parse(string text)
    {
        JsonObject? json;
        try
        {
            json = JsonNode.Parse(text) as JsonObject;
        }
        catch (JsonException)
        {
            json = null;
        }

        if (json is null)
        {
            throw new FormatException($"{Flag} must be a JSON object");
        }

        var unknown = json.Select(field => field.Key).Where(key => !Fields.Contains(key)).Order(StringComparer.Ordinal).ToList();
        if (unknown.Count > 0)
        {
            throw new FormatException($"{Flag} has unknown field(s): {string.Join(", ", unknown)}");
        }

        return new ConditionalDisaggregationSettings
        {
            Policy = Read(json, "policy", nullable: false, "a string", node => (string?)node),
            InputTokensThreshold = Read(json, "eff_isl_threshold", nullable: false, "an integer", node => (long?)node),
            InputRatioThreshold = Read(json, "eff_isl_ratio_threshold", nullable: false, "a number", node => (double?)node),
            PrefillBusyThreshold = Read(json, "prefill_busy_threshold", nullable: true, "a number", node => (double?)node),
            DecodeBusyThreshold = Read(json, "decode_busy_threshold", nullable: true, "a number", node => (double?)node),
        };
    }

    /// <summary>The fields that were given, under their names on the command line.</summary>
    internal JsonObject ToJson()
    {
        var fields = new (string Name, JsonNode? Value)[]
        {
            ("policy", Policy),
            ("eff_isl_threshold", InputTokensThreshold),
            ("eff_isl_ratio_threshold", InputRatioThreshold),
            ("prefill_busy_threshold", PrefillBusyThreshold),
            ("decode_busy_threshold", DecodeBusyThreshold),
        };
        return new JsonObject(fields.Where(field => field.Value is not null).Select(field => KeyValuePair.Create(field.Name, field.Value)));
    }

    private static T? Read<T>(JsonObject json, string field, bool nullable, string expected, Func<JsonNode, T?> read)
    {
        if (!json.TryGetPropertyValue(field, out var node) || (nullable && node is null))
        {
            return default;
        }

        try
        {
            return node is null ? throw new FormatException() : read(node);
        }
        catch (Exception exception) when (exception is InvalidOperationException or FormatException)
        {
            throw new FormatException($"{Flag} {field} must be {expected}");
        }
    }
}
