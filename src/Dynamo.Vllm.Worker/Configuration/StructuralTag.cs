using System.Text.Json.Nodes;

namespace Dynamo.Vllm.Worker.Configuration;

/// <summary>Structural-tag guided decoding as the model card publishes it.</summary>
public sealed record StructuralTag
{
    public string Scope { get; init; } = "always";

    public string Schema { get; init; } = "auto";

    public bool AllowToolCallsWithStructuredOutput { get; init; }

    public bool? ExcludeSpecialTokens { get; init; }

    public string ReasoningBoundary { get; init; } = "auto";

    public bool ToolArgumentsAnyOrder { get; init; }

    /// <summary>The object <c>runtime_config.structural_tag</c>, fields in the order of the captured cards.</summary>
    public JsonObject ToCard()
    {
        var card = new JsonObject
        {
            ["scope"] = Scope,
            ["schema"] = Schema,
            ["allow_tool_calls_with_structured_output"] = AllowToolCallsWithStructuredOutput,
        };

        // An unset value is absent, not null (tests/golden/llm/cards.json).
        if (ExcludeSpecialTokens is { } exclude)
        {
            card["exclude_special_tokens"] = exclude;
        }

        card["reasoning_boundary"] = ReasoningBoundary;
        card["tool_arguments_any_order"] = ToolArgumentsAnyOrder;
        return card;
    }
}
