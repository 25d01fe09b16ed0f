namespace Dynamo.Vllm.Core.KvEvents;

/// <summary>What a worker of this role tells routers about its cache and load.</summary>
public sealed record KvRelayOptions
{
    /// <summary>Relay cache events. Needs an engine that publishes them (<see
    /// cref="Engines.EngineDescription.KvEventsEndpoint"/>).</summary>
    public bool RelaysKvEvents { get; init; } = true;

    /// <summary>Publish the number of used blocks.</summary>
    public bool PublishesLoad { get; init; } = true;

    /// <summary>Publish first-token events: aggregated and decode workers.</summary>
    public bool PublishesFirstTokens { get; init; } = true;

    /// <summary>Port of rank 0's forward-pass metrics, rank r uses the r-th after it; null where the engine sends none.</summary>
    public int? ForwardPassPort { get; init; }

    /// <summary>Hears them, too.</summary>
    public IForwardPassListener? ForwardPassListener { get; init; }

    /// <summary>Placeholder token of images, if the model has one that routers know.</summary>
    public uint? ImageToken { get; init; }

    /// <summary>Placeholder token of videos, likewise.</summary>
    public uint? VideoToken { get; init; }

    /// <summary>How long the start waits for the engine's event sockets. What happens before the subscription is lost.</summary>
    public TimeSpan ConnectTimeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Source of publisher ids.</summary>
    public Func<ulong> NextRandom { get; init; } = RandomBits.Next;
}
