using System.Collections.Concurrent;
using System.Text.Json.Nodes;

namespace Dynamo.Vllm.Worker.StatusPort;

/// <summary>Control calls under <c>/engine/{path}</c> (behaviour.md, 5). Thread-safe.</summary>
public sealed class EngineRoutes
{
    private readonly ConcurrentDictionary<string, Func<JsonNode?, CancellationToken, Task<JsonObject>>> _routes = new();

    /// <summary>Names in the order of the alphabet.</summary>
    public IReadOnlyList<string> Names => [.. _routes.Keys.Order(StringComparer.Ordinal)];

    public void Add(string path, Func<JsonNode?, CancellationToken, Task<JsonObject>> handler) => _routes[path] = handler;

    public Func<JsonNode?, CancellationToken, Task<JsonObject>>? Find(string path) =>
        _routes.TryGetValue(path, out var handler) ? handler : null;
}
