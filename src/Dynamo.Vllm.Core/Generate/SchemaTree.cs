using System.Globalization;
using System.Text.Json;

namespace Dynamo.Vllm.Core.Generate;

/// <summary>A place in a schema, named by its JSON pointer, with the pointer of the resource it belongs to.</summary>
internal readonly record struct Node(string Schema, string Resource);

/// <summary>Places of a JSON schema by pointer, with <c>$id</c> resources (behaviour.md, 12).</summary>
internal sealed class SchemaTree
{
    private readonly JsonElement _root;

    public SchemaTree(JsonElement root) => _root = root;

    public Node Root => new("", "");

    public JsonElement Element(string pointer)
    {
        var element = _root;
        foreach (var segment in Segments(pointer))
        {
            element = Step(element, segment)!.Value;
        }

        return element;
    }

    /// <summary>The node below, crossing into another resource where it has an id.</summary>
    public Node Child(Node node, string keyword, string? name = null)
    {
        var pointer = $"{node.Schema}/{Escape(keyword)}{(name is null ? "" : "/" + Escape(name))}";
        return new Node(pointer, HasId(Element(pointer)) ? pointer : node.Resource);
    }

    public Node Child(Node node, string keyword, int index) => Child(node, keyword, index.ToString(CultureInfo.InvariantCulture));

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
            if (Step(element, segment) is not { } next)
            {
                return null;
            }

            pointer = $"{pointer}/{Escape(segment)}";
            element = next;
            resource = HasId(element) ? pointer : resource;
        }

        return element.ValueKind == JsonValueKind.Object ? new Node(pointer, resource) : null;
    }

    private static bool HasId(JsonElement element) =>
        element.ValueKind == JsonValueKind.Object && element.TryGetProperty("$id", out var id) && id.ValueKind == JsonValueKind.String;

    private static JsonElement? Step(JsonElement element, string segment) => element.ValueKind switch
    {
        JsonValueKind.Object when element.TryGetProperty(segment, out var value) => value,
        JsonValueKind.Array when int.TryParse(segment, NumberStyles.None, CultureInfo.InvariantCulture, out var index)
            && index < element.GetArrayLength() => element[index],
        _ => null,
    };

    private static IEnumerable<string> Segments(string pointer) =>
        pointer.Length == 0 ? [] : pointer[1..].Split('/').Select(Unescape);

    private static string Escape(string segment) =>
        segment.Replace("~", "~0", StringComparison.Ordinal).Replace("/", "~1", StringComparison.Ordinal);

    private static string Unescape(string segment) =>
        segment.Replace("~1", "/", StringComparison.Ordinal).Replace("~0", "~", StringComparison.Ordinal);
}
