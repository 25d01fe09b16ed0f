using System.Globalization;
using System.Text;

namespace Dynamo.Vllm.Protocol.Metrics;

/// <summary>Reads the text that Prometheus scrapes, version 0.0.4.</summary>
/// <remarks>
/// Grammar: lines of <c># HELP name text</c>, <c># TYPE name kind</c>, <c>name{label="value",...} value [timestamp]</c>; other comments
/// and empty lines are passed over. In values of labels <c>\\</c>, <c>\"</c> and <c>\n</c> are escapes, in help texts the first and
/// the last. A line that is none of these is left out, so that a bad family does not cost the good ones. Golden file:
/// runtime/metrics_python_worker.txt.
/// </remarks>
public static class ExpositionText
{
    private static readonly string[] PartEndings = ["_bucket", "_sum", "_count"];

    /// <summary>The families in the order of the text.</summary>
    public static IReadOnlyList<MetricFamily> Parse(string text)
    {
        var families = new List<Draft>();
        foreach (var line in text.AsSpan().EnumerateLines())
        {
            if (line.IsEmpty)
            {
                continue;
            }

            if (line[0] == '#')
            {
                ReadComment(families, line);
            }
            else if (TryReadSample(line, out var sample))
            {
                if (families.Count == 0 || !families[^1].Holds(sample.Name))
                {
                    families.Add(new Draft(sample.Name));
                }

                families[^1].Samples.Add(sample);
            }
        }

        return [.. families.Select(draft => new MetricFamily(draft.Name, draft.Kind, draft.Help, draft.Samples))];
    }

    private static void ReadComment(List<Draft> families, ReadOnlySpan<char> line)
    {
        var isHelp = line.StartsWith("# HELP ", StringComparison.Ordinal);
        if (!isHelp && !line.StartsWith("# TYPE ", StringComparison.Ordinal))
        {
            return;
        }

        var rest = line["# HELP ".Length..];
        var space = rest.IndexOf(' ');
        var name = (space < 0 ? rest : rest[..space]).ToString();
        var word = space < 0 ? [] : rest[(space + 1)..];
        if (families.Count == 0 || families[^1].Name != name || families[^1].Samples.Count > 0)
        {
            families.Add(new Draft(name));
        }

        if (isHelp)
        {
            families[^1].Help = Unescape(word);
        }
        else if (Enum.TryParse<MetricKind>(word, ignoreCase: true, out var kind) && Enum.IsDefined(kind))
        {
            families[^1].Kind = kind;
        }
    }

    private static bool TryReadSample(ReadOnlySpan<char> line, out MetricSample sample)
    {
        sample = null!;
        var end = line.IndexOfAny('{', ' ');
        if (end <= 0)
        {
            return false;
        }

        var name = line[..end].ToString();
        var labels = new List<KeyValuePair<string, string>>();
        var rest = line[end..];
        if (rest[0] == '{' && !TryReadLabels(ref rest, labels))
        {
            return false;
        }

        rest = rest.TrimStart(' ');
        var space = rest.IndexOf(' ');
        if (!TryReadNumber(space < 0 ? rest : rest[..space], out var value))
        {
            return false;
        }

        sample = new MetricSample(name, labels, value);
        return true;
    }

    /// <param name="rest">Begins with the brace; what follows the other one afterwards.</param>
    /// <param name="labels">Takes them.</param>
    private static bool TryReadLabels(ref ReadOnlySpan<char> rest, List<KeyValuePair<string, string>> labels)
    {
        rest = rest[1..];
        while (true)
        {
            rest = rest.TrimStart(" ,");
            if (rest.IsEmpty)
            {
                return false;
            }

            if (rest[0] == '}')
            {
                rest = rest[1..];
                return true;
            }

            var equals = rest.IndexOf("=\"", StringComparison.Ordinal);
            if (equals <= 0)
            {
                return false;
            }

            var name = rest[..equals].ToString();
            rest = rest[(equals + 2)..];
            var close = ClosingQuote(rest);
            if (close < 0)
            {
                return false;
            }

            labels.Add(new(name, Unescape(rest[..close])));
            rest = rest[(close + 1)..];
        }
    }

    private static int ClosingQuote(ReadOnlySpan<char> text)
    {
        for (var at = 0; at < text.Length; at++)
        {
            if (text[at] == '\\')
            {
                at++;
            }
            else if (text[at] == '"')
            {
                return at;
            }
        }

        return -1;
    }

    private static bool TryReadNumber(ReadOnlySpan<char> text, out double value)
    {
        value = text switch
        {
            "+Inf" or "Inf" => double.PositiveInfinity,
            "-Inf" => double.NegativeInfinity,
            _ => double.NaN,
        };
        return !double.IsNaN(value) || text is "NaN" || double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out value);
    }

    private static string Unescape(ReadOnlySpan<char> text)
    {
        if (!text.Contains('\\'))
        {
            return text.ToString();
        }

        var plain = new StringBuilder(text.Length);
        for (var at = 0; at < text.Length; at++)
        {
            var isEscape = text[at] == '\\' && at + 1 < text.Length && text[at + 1] is '\\' or '"' or 'n';
            plain.Append(
                !isEscape ? text[at]
                : text[++at] == 'n' ? '\n'
                : text[at]
            );
        }

        return plain.ToString();
    }

    private sealed class Draft(string name)
    {
        public string Name { get; } = name;

        public MetricKind Kind { get; set; }

        public string Help { get; set; } = "";

        public List<MetricSample> Samples { get; } = [];

        public bool Holds(string sample) =>
            sample == Name
            || (
                Kind is MetricKind.Histogram or MetricKind.Summary
                && sample.StartsWith(Name, StringComparison.Ordinal)
                && PartEndings.Contains(sample[Name.Length..])
            );
    }
}
