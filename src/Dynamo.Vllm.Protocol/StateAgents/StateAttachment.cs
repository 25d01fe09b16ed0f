using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol.Discovery;

namespace Dynamo.Vllm.Protocol.StateAgents;

/// <summary>What a state agent has to know to follow the cache of one rank.</summary>
public sealed record StateAttachment
{
    public required CacheOwnerId Owner { get; init; }

    /// <summary>Among all ranks.</summary>
    public required int Rank { get; init; }

    /// <summary>Under which endpoint the agent publishes what it makes of the events.</summary>
    public required EndpointId StateEndpoint { get; init; }

    public required int BlockSize { get; init; }

    /// <summary>Where the engine publishes this rank's events, as other hosts reach it.</summary>
    public required string EngineEndpoint { get; init; }

    /// <summary>Placeholder token of images, if the model has one that routers know.</summary>
    public uint? ImageToken { get; init; }

    /// <summary>Placeholder token of videos, likewise.</summary>
    public uint? VideoToken { get; init; }

    /// <summary>Where hints for this rank's blocks go, in the record's form; null where it takes none.</summary>
    public JsonObject? HintSource { get; init; }
}
