using System.Globalization;
using System.Text.Json;

namespace Dynamo.Vllm.Core.Generate;

/// <summary>A place in a schema, named by its JSON pointer, with the pointer of the resource it belongs to.</summary>
internal readonly record struct Node(string Schema, string Resource);

/// <summary>Places of a JSON schema by pointer, with <c>$id</c> resources (behaviour.md, 12).</summary>
internal sealed class SchemaTree
{
    /// <summary>From here on an object's members are looked up in a table: a document looks through all of them each time.</summary>
    private const int MembersToIndexMin = 32;

    private readonly Dictionary<string, JsonElement> _elements = new(StringComparer.Ordinal);
    private readonly Dictionary<string, Dictionary<string, JsonElement>> _members = new(StringComparer.Ordinal);

    public SchemaTree(JsonElement root) => _elements[""] = root;

    public Node Root => new("", "");

    /// <summary>Of a node that this tree has made.</summary>
    public JsonElement Element(string pointer) => _elements[pointer];

    /// <summary>The node below, crossing into another resource where it has an id.</summary>
    public Node Child(Node node, JsonElement child, string keyword, string? name = null)
    {
        var pointer = $"{node.Schema}/{Escape(keyword)}{(name is null ? "" : "/" + Escape(name))}";
        _elements[pointer] = child;
        return new Node(pointer, HasId(pointer, child) ? pointer : node.Resource);
    }

    public Node Child(Node node, JsonElement child, string keyword, int index) =>
        Child(node, child, keyword, index.ToString(CultureInfo.InvariantCulture));

    /// <summary>The object that a local reference names, or null.</summary>
    public Node? Resolve(string resource, string fragment)
    {
        var path = Uri.UnescapeDataString(fragment);
        if (path.Length > 0 && path[0] != '/')
        {
            return null; // an anchor
        }

        var pointer = resource;
        var element = Element(resource);
        foreach (var segment in Segments(path))
        {
            if (Step(pointer, element, segment) is not { } next)
            {
                return null;
            }

            pointer = $"{pointer}/{Escape(segment)}";
            element = next;
            resource = HasId(pointer, element) ? pointer : resource;
        }

        _elements[pointer] = element;
        return element.ValueKind == JsonValueKind.Object ? new Node(pointer, resource) : null;
    }

    private bool HasId(string pointer, JsonElement element) =>
        element.ValueKind == JsonValueKind.Object && Member(pointer, element, "$id") is { ValueKind: JsonValueKind.String };

    private JsonElement? Step(string pointer, JsonElement element, string segment) =>
        element.ValueKind switch
        {
            JsonValueKind.Object => Member(pointer, element, segment),
            JsonValueKind.Array
                when int.TryParse(segment, NumberStyles.None, CultureInfo.InvariantCulture, out var index)
                    && index < element.GetArrayLength() => element[index],
            _ => null,
        };

    private JsonElement? Member(string pointer, JsonElement element, string name)
    {
        if (element.GetPropertyCount() < MembersToIndexMin)
        {
            return element.TryGetProperty(name, out var value) ? value : null;
        }

        if (!_members.TryGetValue(pointer, out var members))
        {
            members = new Dictionary<string, JsonElement>(StringComparer.Ordinal);
            foreach (var property in element.EnumerateObject())
            {
                members[property.Name] = property.Value; // the last one counts, as in the document
            }

            _members[pointer] = members;
        }

        return members.TryGetValue(name, out var found) ? found : null;
    }

    private static IEnumerable<string> Segments(string pointer) => pointer.Length == 0 ? [] : pointer[1..].Split('/').Select(Unescape);

    private static string Escape(string segment) =>
        segment.Replace("~", "~0", StringComparison.Ordinal).Replace("/", "~1", StringComparison.Ordinal);

    private static string Unescape(string segment) =>
        segment.Replace("~1", "/", StringComparison.Ordinal).Replace("~0", "~", StringComparison.Ordinal);
}
