using Dynamo.Vllm.Protocol.StateAgents;

namespace Dynamo.Vllm.Worker.Configuration;

/// <summary>An agent follows the cache in this worker's place: <c>kv_connector_extra_config.dynamo_state_agent</c>.</summary>
/// <param name="Host">Under which the agent reaches the engine's event sockets.</param>
/// <param name="Owners">Of each rank of this worker, by its number among all ranks.</param>
public sealed record StateAgentSettings(string Host, IReadOnlyDictionary<int, CacheOwnerId> Owners);
