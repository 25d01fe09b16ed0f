using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Dynamo.Vllm.Worker.Configuration.Dump;

/// <summary>Writes JSON as Python's <c>json.dumps</c> spells it.</summary>
internal static class PythonJson
{
    /// <summary>Default form: a blank after each comma and colon, members in their order.</summary>
    public static string Spaced(JsonNode? node) => Write(node, ", ", ": ", sorted: false);

    /// <summary>Canonical form of the configuration dump: no blanks, members sorted by their characters' code.</summary>
    public static string Canonical(JsonNode? node) => Write(node, ",", ":", sorted: true);

    private static string Write(JsonNode? node, string comma, string colon, bool sorted)
    {
        var builder = new StringBuilder();
        Append(node);
        return builder.ToString();

        void Append(JsonNode? value)
        {
            switch (value)
            {
                case JsonObject members:
                    builder.Append('{');
                    IEnumerable<KeyValuePair<string, JsonNode?>> inOrder = sorted
                        ? members.OrderBy(member => member.Key, StringComparer.Ordinal)
                        : members;
                    AppendAll(
                        inOrder,
                        member =>
                        {
                            AppendText(builder, member.Key);
                            builder.Append(colon);
                            Append(member.Value);
                        }
                    );
                    builder.Append('}');
                    break;
                case JsonArray items:
                    builder.Append('[');
                    AppendAll(items, Append);
                    builder.Append(']');
                    break;
                case not null when value.GetValueKind() == JsonValueKind.String:
                    AppendText(builder, value.GetValue<string>());
                    break;
                default:
                    builder.Append(value?.ToJsonString() ?? "null");
                    break;
            }
        }

        void AppendAll<T>(IEnumerable<T> elements, Action<T> append)
        {
            var first = true;
            foreach (var element in elements)
            {
                builder.Append(first ? string.Empty : comma);
                append(element);
                first = false;
            }
        }
    }

    // Only what JSON requires is escaped, as with ensure_ascii=False; .NET's own writer escapes more.
    private static void AppendText(StringBuilder builder, string text)
    {
        builder.Append('"');
        foreach (var character in text)
        {
            _ = character switch
            {
                '"' => builder.Append("\\\""),
                '\\' => builder.Append("\\\\"),
                '\n' => builder.Append("\\n"),
                '\r' => builder.Append("\\r"),
                '\t' => builder.Append("\\t"),
                '\b' => builder.Append("\\b"),
                '\f' => builder.Append("\\f"),
                < ' ' => builder.Append("\\u").Append(((int)character).ToString("x4", System.Globalization.CultureInfo.InvariantCulture)),
                _ => builder.Append(character),
            };
        }

        builder.Append('"');
    }
}
