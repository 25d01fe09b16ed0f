namespace Dynamo.Vllm.Worker.Configuration.Options;

/// <summary>What kind of value an option holds; it decides conversion, arity and how the option looks in the help.</summary>
public enum OptionKind
{
    Text,
    Integer,
    Float,

    /// <summary>A float, or nothing for an empty string and the word <c>None</c>.</summary>
    NullableFloat,

    /// <summary>An integer, or nothing for an empty string and the word <c>None</c>.</summary>
    NullableInteger,

    /// <summary>A pair <c>--x</c> / <c>--no-x</c> that takes no value.</summary>
    Boolean,

    /// <summary>Any number of words, none included.</summary>
    Words,

    /// <summary>An optional value: absent means <c>true</c>.</summary>
    StructuralTag,

    /// <summary>A word whose old spelling <c>aic</c> still means <c>ais</c>.</summary>
    PrefillLoadModel,

    /// <summary>A JSON object with the conditional disaggregation settings.</summary>
    ConditionalDisaggregation,

    Help,
    Version,
}
