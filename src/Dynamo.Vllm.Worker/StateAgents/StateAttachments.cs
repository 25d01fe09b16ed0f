using System.Globalization;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.KvEvents;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Protocol.StateAgents;
using Dynamo.Vllm.Worker.Configuration;

namespace Dynamo.Vllm.Worker.StateAgents;

/// <summary>What an agent is told of each rank, once the engine is known.</summary>
internal static class StateAttachments
{
    /// <param name="settings">Of the operator.</param>
    /// <param name="engine">Says which ranks there are and where they publish.</param>
    /// <param name="stateEndpoint">Under which the agent publishes.</param>
    /// <param name="hints">Where hints for each rank go, by its number; null where none are taken.</param>
    /// <param name="role">Worker type of the card.</param>
    /// <exception cref="ConfigurationException">The settings do not fit the engine.</exception>
    public static IReadOnlyList<StateAttachment> Create(
        StateAgentSettings settings,
        EngineDescription engine,
        EndpointId stateEndpoint,
        JsonObject? hints,
        string role
    )
    {
        var ranks = Enumerable.Range(engine.DataParallelStart, Math.Max(1, engine.DataParallelSize)).ToList();
        var missing = ranks.Where(rank => !settings.Owners.ContainsKey(rank)).Order().ToList();
        var extra = settings.Owners.Keys.Except(ranks).Order().ToList();
        if (missing.Count + extra.Count > 0)
        {
            throw new ConfigurationException(
                "dynamo_state_agent CacheOwner mapping must exactly cover this worker's global DP ranks "
                    + $"(missing=[{string.Join(", ", missing)}], extra=[{string.Join(", ", extra)}])"
            );
        }

        return
        [
            .. ranks.Select(rank => new StateAttachment
            {
                Owner = settings.Owners[rank],
                Rank = rank,
                StateEndpoint = stateEndpoint,
                BlockSize = engine.KvEventBlockSize,
                EngineEndpoint = Advertised(engine.KvEventsEndpoint ?? "", rank, settings.Host),
                ImageToken = engine.Multimodal.ImageToken,
                VideoToken = engine.Multimodal.VideoToken,
                HintSource = hints is null ? null : HintSource(hints, rank, role),
            }),
        ];
    }

    private static JsonObject HintSource(JsonObject hints, int rank, string role) =>
        new() { ["source_control_endpoint"] = hints[rank.ToString(CultureInfo.InvariantCulture)]?.DeepClone(), ["worker_type"] = role };

    private static string Advertised(string endpoint, int rank, string host)
    {
        var local = EngineEventEndpoint.OfRank(endpoint, rank);
        var port = local[(local.LastIndexOf(':') + 1)..];
        return local.StartsWith("tcp://", StringComparison.Ordinal) && port.Length > 0 && port.All(char.IsAsciiDigit)
            ? $"tcp://{host}:{port}"
            : throw new ConfigurationException($"unsupported vLLM KV event endpoint: '{endpoint}'");
    }
}
