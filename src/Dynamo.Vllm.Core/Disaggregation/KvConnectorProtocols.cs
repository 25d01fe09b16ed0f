using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Engines;

namespace Dynamo.Vllm.Core.Disaggregation;

/// <summary>The protocol of the configured connector; wrappers delegate to their one child that can hand over (behaviour.md, 14).</summary>
public static class KvConnectorProtocols
{
    private const string Supported = "LMCacheMPConnector, MooncakeConnector, NeuronNixlConnector, NixlConnector";

    public static IKvConnectorProtocol Resolve(EngineDescription engine, IIdSource ids) =>
        engine.KvConnector switch
        {
            null => new PullProtocol(),
            "MultiConnector" or "PdConnector" => ResolveWrapper(engine, ids),
            var name => Create(name, engine, engine.KvEngineId, ids)
                ?? new UnsupportedProtocol($"Unsupported kv_connector='{name}' for PD. Supported names: {Supported}"),
        };

    private static IKvConnectorProtocol? Create(string? name, EngineDescription engine, string? engineId, IIdSource ids) =>
        name switch
        {
            "NixlConnector" or "NeuronNixlConnector" => new PullProtocol(),
            "LMCacheMPConnector" => new CacheMediatedProtocol(),
            "MooncakeConnector" => engine.MooncakeBootstrapAddress is { } address
                ? new PushProtocol(address, engineId, ids)
                : new UnsupportedProtocol("MooncakeConnector needs a vLLM with the Mooncake KV connector"),
            _ => null,
        };

    private static IKvConnectorProtocol ResolveWrapper(EngineDescription engine, IIdSource ids)
    {
        if (engine.KvConnectorExtraConfig?["connectors"] is not JsonArray children)
        {
            return new UnsupportedProtocol(
                $"{engine.KvConnector} requires kv_connector_extra_config['connectors'] to be a list of connector configs"
            );
        }

        var candidates = children
            .OfType<JsonObject>()
            .Select(child =>
                (Name: child["kv_connector"]?.GetValue<string>(), EngineId: child["engine_id"]?.GetValue<string>() ?? engine.KvEngineId)
            )
            .Where(child => Create(child.Name, engine, child.EngineId, ids) is not null)
            .ToList();
        // A child that moves blocks itself goes before one that goes through a cache.
        var moving = candidates.Where(child => child.Name != "LMCacheMPConnector").ToList();
        candidates = moving.Count > 0 ? moving : candidates;
        return candidates.Count switch
        {
            1 => Create(candidates[0].Name, engine, candidates[0].EngineId, ids)!,
            0 => new UnsupportedProtocol($"{engine.KvConnector} has no PD-capable sub-connector. Supported PD connectors: {Supported}"),
            _ => new UnsupportedProtocol(
                $"{engine.KvConnector} has multiple PD-capable sub-connectors ({string.Join(", ", candidates.Select(child => child.Name))})"
            ),
        };
    }
}
