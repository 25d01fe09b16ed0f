using System.Text;

namespace Dynamo.Vllm.Core.Metrics;

/// <summary>Adds labels to the samples of a Prometheus text, never overriding
/// those that are there, and keeps chosen families only.</summary>
public static class MetricLabels
{
    /// <param name="text">Prometheus text of the engine.</param>
    /// <param name="prefixes">Families to keep.</param>
    /// <param name="labels">Name and value, in the order in which they are to appear.</param>
    public static string Inject(string text, IReadOnlyList<string> prefixes, IReadOnlyList<KeyValuePair<string, string>> labels)
    {
        var output = new StringBuilder(text.Length * 2);
        foreach (var line in text.AsSpan().EnumerateLines())
        {
            if (line.IsEmpty || !StartsWithAny(FamilyName(line), prefixes))
            {
                continue;
            }

            if (line[0] == '#')
            {
                output.Append(line).Append('\n');
            }
            else
            {
                AppendSample(output, line, labels);
            }
        }

        return output.ToString();
    }

    /// <summary>The text without the model labels that endpoints do not have.
    /// Prometheus takes an empty label for none, readers of the text do not.</summary>
    public static string WithoutEmptyModel(string text) =>
        text.Replace("model=\"\",model_name=\"\",", "", StringComparison.Ordinal).Replace("model_name=\"\",", "", StringComparison.Ordinal);

    private static ReadOnlySpan<char> FamilyName(ReadOnlySpan<char> line)
    {
        // "# HELP name text", "# TYPE name kind", or "name{labels} value".
        if (line[0] != '#')
        {
            return line;
        }

        var rest = line[1..].TrimStart();
        var space = rest.IndexOf(' ');
        return space < 0 ? [] : rest[(space + 1)..];
    }

    private static bool StartsWithAny(ReadOnlySpan<char> name, IReadOnlyList<string> prefixes)
    {
        foreach (var prefix in prefixes)
        {
            if (name.StartsWith(prefix, StringComparison.Ordinal))
            {
                return true;
            }
        }

        return false;
    }

    private static void AppendSample(StringBuilder output, ReadOnlySpan<char> line, IReadOnlyList<KeyValuePair<string, string>> labels)
    {
        var brace = line.IndexOf('{');
        var nameEnd = brace >= 0 ? brace : line.IndexOf(' ');
        var existing = brace >= 0 ? line[(brace + 1)..line.LastIndexOf('}')] : [];
        var tail = brace >= 0 ? line[(line.LastIndexOf('}') + 1)..] : line[nameEnd..];
        output.Append(line[..nameEnd]).Append('{');
        var isFirst = true;
        foreach (var (name, value) in labels)
        {
            if (!HasLabel(existing, name))
            {
                output.Append(isFirst ? "" : ",").Append(name).Append("=\"").Append(Escape(value)).Append('"');
                isFirst = false;
            }
        }

        if (!existing.IsEmpty)
        {
            output.Append(isFirst ? "" : ",").Append(existing);
        }

        output.Append('}').Append(tail).Append('\n');
    }

    private static bool HasLabel(ReadOnlySpan<char> existing, string name)
    {
        for (var at = existing.IndexOf(name, StringComparison.Ordinal); at >= 0; )
        {
            var isStart = at == 0 || existing[at - 1] == ',';
            var end = at + name.Length;
            if (isStart && end + 1 < existing.Length && existing[end] == '=' && existing[end + 1] == '"')
            {
                return true;
            }

            var next = existing[end..].IndexOf(name, StringComparison.Ordinal);
            at = next < 0 ? -1 : end + next;
        }

        return false;
    }

    private static string Escape(string value) =>
        value
            .Replace("\\", "\\\\", StringComparison.Ordinal)
            .Replace("\"", "\\\"", StringComparison.Ordinal)
            .Replace("\n", "\\n", StringComparison.Ordinal);
}
