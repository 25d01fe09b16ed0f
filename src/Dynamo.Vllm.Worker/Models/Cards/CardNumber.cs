using System.Globalization;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Worker.Configuration.Parsing;

namespace Dynamo.Vllm.Worker.Models.Cards;

/// <summary>Floats as the frontend writes them into a card: a whole number keeps its ".0", since checksums cover the text.</summary>
internal static class CardNumber
{
    public static JsonNode? Float(double? value)
    {
        if (value is not { } number)
        {
            return null;
        }

        var text = number.ToString("R", CultureInfo.InvariantCulture);

        // Exponents only where Rust's shortest form has them too: from 1e16 up, and below 1e-5.
        if (text.Contains('E', StringComparison.Ordinal) && Math.Abs(number) is >= 1e-5 and < 1e16)
        {
            text = decimal.Parse(text, NumberStyles.Float, CultureInfo.InvariantCulture).ToString(CultureInfo.InvariantCulture);
        }

        var spelt =
            text.Contains('E', StringComparison.Ordinal) ? Exponent(text)
            : text.Contains('.', StringComparison.Ordinal) ? text
            : text + ".0";
        return JsonNode.Parse(spelt);
    }

    /// <summary>As <see cref="Float"/>, but infinity and not-a-number, which JSON cannot express, become their Python words.</summary>
    public static JsonNode? FloatOrText(double value) => double.IsFinite(value) ? Float(value) : PythonText.Float(value);

    private static string Exponent(string text)
    {
        var parts = text.Split('E');
        return $"{parts[0]}e{int.Parse(parts[1], CultureInfo.InvariantCulture).ToString(CultureInfo.InvariantCulture)}";
    }
}
