using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core;
using Dynamo.Vllm.Worker.Configuration.Parsing;

namespace Dynamo.Vllm.Worker.Control;

/// <summary>What Python makes of a JSON value: the reference's control
/// calls take a member of any type and show it in their answers.</summary>
internal static class PythonValues
{
    /// <summary>As <c>str()</c> shows it.</summary>
    public static string Show(JsonNode? value) =>
        value?.GetValueKind() == JsonValueKind.String ? value.GetValue<string>() : Represent(value);

    /// <summary>As <c>bool()</c> takes it.</summary>
    public static bool IsTrue(JsonNode? value) =>
        value switch
        {
            null => false,
            JsonArray array => array.Count > 0,
            JsonObject map => map.Count > 0,
            _ => value.GetValueKind() switch
            {
                JsonValueKind.True => true,
                JsonValueKind.String => value.GetValue<string>().Length > 0,
                JsonValueKind.Number => value.GetValue<double>() != 0,
                _ => false,
            },
        };

    /// <summary>Name of its type.</summary>
    public static string TypeName(JsonNode? value) =>
        value switch
        {
            null => "NoneType",
            JsonArray => "list",
            JsonObject => "dict",
            _ => value.GetValueKind() switch
            {
                JsonValueKind.True or JsonValueKind.False => "bool",
                JsonValueKind.String => "str",
                _ => IsInteger(value) ? "int" : "float",
            },
        };

    /// <summary>As <c>repr()</c> shows it.</summary>
    public static string Represent(JsonNode? value) =>
        value switch
        {
            null => "None",
            JsonArray array => $"[{string.Join(", ", array.Select(Represent))}]",
            JsonObject map =>
                $"{{{string.Join(", ", map.Select(pair => $"{PythonString.Represent(pair.Key)}: {Represent(pair.Value)}"))}}}",
            _ => value.GetValueKind() switch
            {
                JsonValueKind.True => "True",
                JsonValueKind.False => "False",
                JsonValueKind.String => PythonString.Represent(value.GetValue<string>()),
                _ => IsInteger(value) ? value.ToJsonString() : PythonText.Float(value.GetValue<double>()),
            },
        };

    /// <summary>As the reference's reader of JSON has it: what 64 bits do not hold is a float there, and so is -0.</summary>
    private static bool IsInteger(JsonNode number) =>
        number.ToJsonString() is not "-0" and var text
        && (
            long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out _)
            || ulong.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out _)
        );
}
