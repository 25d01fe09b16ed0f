using System.Text.Json;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.Core.Generate;

/// <summary>Finds a JSON schema whose references run in a circle without
/// moving on in the value: a grammar compiler never ends on it.</summary>
/// <remarks>
/// behaviour.md, 12. Nodes are pairs of a schema object and its resource (the nearest enclosing object with a string <c>$id</c>).
/// Edges stay on the same JSON value: a local <c>$ref</c> and each object in <c>allOf</c>. Other keywords are walked but are no edge.
/// </remarks>
public sealed class GuidedJsonGuard
{
    private const string Field = "sampling_options.guided_decoding.json";

    // A schema in a body has gone through its limit already, which counts from the body's own object on.
    private static readonly JsonDocumentOptions AsDeepAsBodies = new() { MaxDepth = Limits.NestingDepthMax };

    private static readonly string[] MapKeywords = ["properties", "patternProperties", "dependentSchemas", "dependencies"];

    private static readonly string[] ItemKeywords =
    [
        "additionalProperties",
        "unevaluatedProperties",
        "propertyNames",
        "items",
        "additionalItems",
        "prefixItems",
        "contains",
        "unevaluatedItems",
        "contentSchema",
    ];

    private readonly Dictionary<Node, List<Node>> _edges = [];
    private readonly Stack<Node> _pending = new();

    private GuidedJsonGuard() { }

    /// <summary>Why the schema must be refused, or null.</summary>
    /// <param name="schemaJson">A schema object, or a JSON string that holds one.</param>
    public static string? FindProblem(ReadOnlyMemory<byte> schemaJson)
    {
        using var document = JsonDocument.Parse(schemaJson, AsDeepAsBodies);
        return document.RootElement.ValueKind == JsonValueKind.String
            ? FindProblemInText(document.RootElement.GetString()!)
            : FindProblem(document.RootElement);
    }

    private static string? FindProblemInText(string text)
    {
        try
        {
            using var document = JsonDocument.Parse(text, AsDeepAsBodies);
            return UnreadableText.Find(document.RootElement) is { } path
                ? $"{Field}: text that is not valid Unicode at '{path}'"
                : FindProblem(document.RootElement);
        }
        catch (JsonException)
        {
            // Not a schema: the engine says so. But what is nested too deep for us is so for the engine's parser, too, which dies of it.
            return IsJson(text) ? $"{Field} is nested deeper than the limit {Limits.NestingDepthMax}" : null;
        }
    }

    private static bool IsJson(string text)
    {
        try
        {
            using var document = JsonDocument.Parse(text, new JsonDocumentOptions { MaxDepth = int.MaxValue });
            return true;
        }
        catch (JsonException)
        {
            return false;
        }
    }

    private static string? FindProblem(JsonElement root) =>
        Check(root) ? "Invalid guided_json schema: non-progressing local $ref cycle detected" : null;

    private static bool Check(JsonElement root)
    {
        if (root.ValueKind != JsonValueKind.Object)
        {
            return false;
        }

        var guard = new GuidedJsonGuard();
        guard.Collect(new SchemaTree(root));
        return guard.HasCycle();
    }

    private void Collect(SchemaTree tree)
    {
        Push(tree.Root);
        while (_pending.TryPop(out var node))
        {
            if (_edges.ContainsKey(node))
            {
                continue;
            }

            var edges = new List<Node>();
            _edges[node] = edges;
            var schema = tree.Element(node.Schema);
            foreach (var target in SameValueTargets(tree, schema, node))
            {
                edges.Add(target);
                Push(target);
            }

            foreach (var child in Children(tree, schema, node))
            {
                Push(child);
            }
        }
    }

    private void Push(Node node) => _pending.Push(node);

    private static IEnumerable<Node> SameValueTargets(SchemaTree tree, JsonElement schema, Node node)
    {
        if (
            schema.TryGetProperty("$ref", out var reference)
            && reference.ValueKind == JsonValueKind.String
            && reference.GetString() is { } text
            && text.StartsWith('#')
            && tree.Resolve(node.Resource, text[1..]) is { } target
        )
        {
            yield return target;
        }

        if (schema.TryGetProperty("allOf", out var all) && all.ValueKind == JsonValueKind.Array)
        {
            foreach (var (i, item) in all.EnumerateArray().Index())
            {
                if (item.ValueKind == JsonValueKind.Object)
                {
                    yield return tree.Child(node, item, "allOf", i);
                }
            }
        }
    }

    private static IEnumerable<Node> Children(SchemaTree tree, JsonElement schema, Node node)
    {
        foreach (var keyword in MapKeywords)
        {
            if (!schema.TryGetProperty(keyword, out var map) || map.ValueKind != JsonValueKind.Object)
            {
                continue;
            }

            foreach (var property in map.EnumerateObject().Where(property => property.Value.ValueKind == JsonValueKind.Object))
            {
                yield return tree.Child(node, property.Value, keyword, property.Name);
            }
        }

        foreach (var keyword in ItemKeywords)
        {
            if (!schema.TryGetProperty(keyword, out var value))
            {
                continue;
            }

            if (value.ValueKind == JsonValueKind.Object)
            {
                yield return tree.Child(node, value, keyword);
            }
            else if (value.ValueKind == JsonValueKind.Array)
            {
                foreach (var (i, item) in value.EnumerateArray().Index())
                {
                    if (item.ValueKind == JsonValueKind.Object)
                    {
                        yield return tree.Child(node, item, keyword, i);
                    }
                }
            }
        }
    }

    private bool HasCycle()
    {
        // Kahn's algorithm: what cannot be taken away in topological order lies on, or behind, a cycle.
        var incoming = _edges.Keys.ToDictionary(node => node, _ => 0);
        foreach (var target in _edges.Values.SelectMany(targets => targets))
        {
            incoming[target]++;
        }

        var free = new Queue<Node>(incoming.Where(pair => pair.Value == 0).Select(pair => pair.Key));
        var taken = 0;
        while (free.TryDequeue(out var node))
        {
            taken++;
            foreach (var target in _edges[node])
            {
                if (--incoming[target] == 0)
                {
                    free.Enqueue(target);
                }
            }
        }

        return taken < _edges.Count;
    }
}
