using System.Globalization;
using System.Text;

namespace Dynamo.Vllm.Worker.Logging;

/// <summary>Text from outside in a readable log line: whatever it holds, it
/// can be neither a line of its own nor a command to a terminal.</summary>
internal static class LogText
{
    private const string Continuation = "\n    ";

    /// <summary>Line breaks start a continuation line, which is indented as
    /// no log line is; other control characters are spelled out.</summary>
    public static void AppendTo(StringBuilder line, ReadOnlySpan<char> text)
    {
        while (true)
        {
            var end = IndexOfSpecial(text);
            if (end < 0)
            {
                line.Append(text);
                return;
            }

            line.Append(text[..end]);
            var isBreak = text[end] == '\n' || (text[end] == '\r' && end + 1 < text.Length && text[end + 1] == '\n');
            if (isBreak)
            {
                line.Append(Continuation);
                end += text[end] == '\r' ? 1 : 0;
            }
            else
            {
                line.Append("\\u").Append(((int)text[end]).ToString("x4", CultureInfo.InvariantCulture));
            }

            text = text[(end + 1)..];
        }
    }

    /// <summary>At most so many characters, and three dots in place of the rest.</summary>
    public static string Shorten(string text, int lengthMax) =>
        text.Length <= lengthMax ? text : string.Concat(text.AsSpan(0, lengthMax), "...");

    private static int IndexOfSpecial(ReadOnlySpan<char> text)
    {
        for (var i = 0; i < text.Length; i++)
        {
            // The two separators end a line for some viewers, though they are no control characters.
            if ((char.IsControl(text[i]) && text[i] != '\t') || text[i] is '\u2028' or '\u2029')
            {
                return i;
            }
        }

        return -1;
    }
}
