using System.Globalization;
using System.Text;

namespace Dynamo.Vllm.Worker.Configuration.Parsing;

/// <summary>Reads and writes values the way Python does, because scripts and tests of the reference see Python's spelling.</summary>
internal static class PythonText
{
    /// <summary><c>int(text)</c>: blanks around, a sign and single underscores between digits are accepted.</summary>
    public static bool TryParseInteger(string text, out long value)
    {
        value = 0;
        return TryStripUnderscores(text.Trim(), out var digits)
            && digits.Length > 0
            && digits.AsSpan(digits[0] is '+' or '-' ? 1 : 0).IndexOfAnyExceptInRange('0', '9') < 0
            && long.TryParse(digits, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out value);
    }

    /// <summary><c>float(text)</c>: also the words for infinity and not-a-number.</summary>
    public static bool TryParseFloat(string text, out double value)
    {
        value = 0;
        if (!TryStripUnderscores(text.Trim(), out var number) || number.Length == 0)
        {
            return false;
        }

        var unsigned = number.TrimStart('+', '-').ToUpperInvariant();
        if (number.Length - unsigned.Length > 1)
        {
            return false;
        }

        switch (unsigned)
        {
            case "INF" or "INFINITY":
                value = number[0] == '-' ? double.NegativeInfinity : double.PositiveInfinity;
                return true;
            case "NAN":
                value = double.NaN;
                return true;
            default:
                const NumberStyles style = NumberStyles.AllowLeadingSign | NumberStyles.AllowDecimalPoint | NumberStyles.AllowExponent;
                return double.TryParse(number, style, CultureInfo.InvariantCulture, out value);
        }
    }

    /// <summary>The words that mean true for a variable; any other word means false.</summary>
    public static bool IsTruthy(string text) => text.Trim().ToLowerInvariant() is "true" or "1" or "yes" or "on";

    /// <summary>True, false, or null for a word that is neither. An empty word is false.</summary>
    public static bool? ParseStrictBoolean(string text) =>
        text.Trim().ToLowerInvariant() switch
        {
            "1" or "true" or "on" or "yes" => true,
            "" or "0" or "false" or "off" or "no" => false,
            _ => null,
        };

    /// <summary><c>text.split()</c>.</summary>
    public static string[] Words(string text) => text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries);

    /// <summary><c>str(value)</c> for the values an option default can have.</summary>
    public static string Display(object? value) =>
        value switch
        {
            null => "None",
            bool flag => flag ? "True" : "False",
            double number => Float(number),
            string text => text,
            IEnumerable<string> words => $"[{string.Join(", ", words.Select(Quote))}]",
            IFormattable number => number.ToString(null, CultureInfo.InvariantCulture),
            _ => value.ToString() ?? string.Empty,
        };

    /// <summary><c>repr(value)</c> of a float: shortest form that reads back, always with a point or an exponent.</summary>
    public static string Float(double value)
    {
        if (double.IsNaN(value))
        {
            return "nan";
        }

        if (double.IsInfinity(value))
        {
            return value > 0 ? "inf" : "-inf";
        }

        var text = value.ToString("R", CultureInfo.InvariantCulture);
        if (Math.Abs(value) is >= 1e16 and < 1e17)
        {
            // Python writes an exponent from here on, .NET still seventeen digits.
            var digits = text.TrimStart('-').TrimEnd('0');
            var fraction = digits.Length > 1 ? $".{digits[1..]}" : "";
            return $"{(value < 0 ? "-" : "")}{digits[0]}{fraction}e+16";
        }

        return text.AsSpan().IndexOfAny('.', 'E') < 0 ? text + ".0" : text.Replace("E", "e", StringComparison.Ordinal);
    }

    /// <summary><c>repr(text)</c>: single quotes, or double ones when only single ones occur inside.</summary>
    public static string Quote(string text)
    {
        var quote = text.Contains('\'', StringComparison.Ordinal) && !text.Contains('"', StringComparison.Ordinal) ? '"' : '\'';
        var builder = new StringBuilder(text.Length + 2).Append(quote);
        foreach (var character in text)
        {
            _ = character switch
            {
                '\\' => builder.Append("\\\\"),
                '\n' => builder.Append("\\n"),
                '\r' => builder.Append("\\r"),
                '\t' => builder.Append("\\t"),
                _ when character == quote => builder.Append('\\').Append(character),
                _ when char.IsControl(character) => builder.Append(CultureInfo.InvariantCulture, $"\\x{(int)character:x2}"),
                _ => builder.Append(character),
            };
        }

        return builder.Append(quote).ToString();
    }

    private static bool TryStripUnderscores(string text, out string stripped)
    {
        stripped = text;
        if (!text.Contains('_', StringComparison.Ordinal))
        {
            return true;
        }

        // Python takes an underscore only between two digits.
        for (var i = 0; i < text.Length; i++)
        {
            if (text[i] == '_' && (i == 0 || i == text.Length - 1 || !char.IsAsciiDigit(text[i - 1]) || !char.IsAsciiDigit(text[i + 1])))
            {
                return false;
            }
        }

        stripped = text.Replace("_", string.Empty, StringComparison.Ordinal);
        return true;
    }
}
