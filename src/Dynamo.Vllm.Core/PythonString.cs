using System.Globalization;
using System.Text;

namespace Dynamo.Vllm.Core;

/// <summary>A string as Python's <c>repr()</c> shows it, which is how the reference lists names and shows values in its answers.</summary>
public static class PythonString
{
    public static string Represent(string text)
    {
        var quote = text.Contains('\'', StringComparison.Ordinal) && !text.Contains('"', StringComparison.Ordinal) ? '"' : '\'';
        var result = new StringBuilder(text.Length + 2).Append(quote);
        foreach (var rune in text.EnumerateRunes())
        {
            Append(result, rune, quote);
        }

        return result.Append(quote).ToString();
    }

    private static void Append(StringBuilder result, Rune rune, char quote)
    {
        switch (rune.Value)
        {
            case '\n':
                result.Append("\\n");
                break;
            case '\r':
                result.Append("\\r");
                break;
            case '\t':
                result.Append("\\t");
                break;
            case '\\':
                result.Append("\\\\");
                break;
            default:
                _ =
                    rune.Value == quote ? result.Append('\\').Append(quote)
                    : IsPrintable(rune) ? result.Append(rune.ToString())
                    : AppendEscape(result, rune.Value);
                break;
        }
    }

    private static bool IsPrintable(Rune rune) =>
        rune.Value == ' '
        || Rune.GetUnicodeCategory(rune)
            is not (
                UnicodeCategory.Control
                or UnicodeCategory.Format
                or UnicodeCategory.Surrogate
                or UnicodeCategory.PrivateUse
                or UnicodeCategory.OtherNotAssigned
                or UnicodeCategory.LineSeparator
                or UnicodeCategory.ParagraphSeparator
                or UnicodeCategory.SpaceSeparator
            );

    private static StringBuilder AppendEscape(StringBuilder result, int value) =>
        value switch
        {
            <= 0xff => result.Append(CultureInfo.InvariantCulture, $"\\x{value:x2}"),
            <= 0xffff => result.Append(CultureInfo.InvariantCulture, $"\\u{value:x4}"),
            _ => result.Append(CultureInfo.InvariantCulture, $"\\U{value:x8}"),
        };
}
