using System.Text.Json;
using System.Text.Json.Nodes;

namespace Dynamo.Vllm.Worker.Configuration;

/// <summary>What <c>--dyn-structural-tag</c> said: a configuration, or <see cref="Off"/>.</summary>
/// <param name="Tag">Null when guidance is switched off.</param>
public sealed record StructuralTagSetting(StructuralTag? Tag)
{
    private static readonly string[] Fields =
    [
        "scope",
        "schema",
        "allow_tool_calls_with_structured_output",
        "exclude_special_tokens",
        "reasoning_boundary",
        "tool_arguments_any_order",
    ];

    public static StructuralTagSetting Off { get; } = new((StructuralTag?)null);

    /// <summary>Reads a word for on or off, or a JSON object without unknown fields.</summary>
    /// <exception cref="FormatException">With the sentence that follows the option's name in the usage error.</exception>
    public static StructuralTagSetting Parse(string text)
    {
        switch (text.Trim().ToLowerInvariant())
        {
            case "true" or "1" or "yes" or "on":
                return new StructuralTagSetting(new StructuralTag());
            case "false" or "0" or "no" or "off":
                return Off;
            default:
                return new StructuralTagSetting(ParseObject(text));
        }
    }

    private static StructuralTag ParseObject(string text)
    {
        JsonNode? node;
        try
        {
            node = JsonNode.Parse(text);
        }
        catch (JsonException exception)
        {
            throw new FormatException($"JSON is malformed: {exception.Message}");
        }

        if (node is not JsonObject json)
        {
            throw new FormatException($"Expected `object`, got `{TypeName(node)}`");
        }

        if (json.Select(field => field.Key).FirstOrDefault(key => !Fields.Contains(key)) is { } unknown)
        {
            throw new FormatException($"Object contains unknown field `{unknown}`");
        }

        var defaults = new StructuralTag();
        return new StructuralTag
        {
            Scope = Word(json, "scope", defaults.Scope, "auto", "always"),
            Schema = Word(json, "schema", defaults.Schema, "auto", "strict"),
            AllowToolCallsWithStructuredOutput = Flag(json, "allow_tool_calls_with_structured_output", nullable: false) ?? false,
            ExcludeSpecialTokens = Flag(json, "exclude_special_tokens", nullable: true),
            ReasoningBoundary = Word(json, "reasoning_boundary", defaults.ReasoningBoundary, "auto", "structural_tag", "backend"),
            ToolArgumentsAnyOrder = Flag(json, "tool_arguments_any_order", nullable: false) ?? false,
        };
    }

    private static string Word(JsonObject json, string field, string defaultValue, params string[] allowed)
    {
        if (!json.TryGetPropertyValue(field, out var node))
        {
            return defaultValue;
        }

        if (node?.GetValueKind() != JsonValueKind.String)
        {
            throw new FormatException($"Expected `str`, got `{TypeName(node)}` - at `$.{field}`");
        }

        var word = node.GetValue<string>();
        return allowed.Contains(word) ? word : throw new FormatException($"Invalid enum value '{word}' - at `$.{field}`");
    }

    private static bool? Flag(JsonObject json, string field, bool nullable)
    {
        if (!json.TryGetPropertyValue(field, out var node) || (nullable && node is null))
        {
            return null;
        }

        return node?.GetValueKind() switch
        {
            JsonValueKind.True => true,
            JsonValueKind.False => false,
            _ => throw new FormatException($"Expected `{(nullable ? "bool | null" : "bool")}`, got `{TypeName(node)}` - at `$.{field}`"),
        };
    }

    private static string TypeName(JsonNode? node) =>
        node?.GetValueKind() switch
        {
            null or JsonValueKind.Null => "null",
            JsonValueKind.Object => "object",
            JsonValueKind.Array => "array",
            JsonValueKind.String => "str",
            JsonValueKind.True or JsonValueKind.False => "bool",
            _ => node.ToJsonString().AsSpan().IndexOfAny('.', 'e', 'E') < 0 ? "int" : "float",
        };
}
