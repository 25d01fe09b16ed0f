namespace Dynamo.Vllm.Core.Health.Stalls;

/// <summary>How far the worker has given up on an engine that says nothing. Only a sign of life leads back.</summary>
public enum StallStage
{
    /// <summary>The engine says something, or has not been silent for long.</summary>
    None,

    /// <summary>Not ready, out of discovery, and new requests are turned away.</summary>
    Suspect,

    /// <summary>Running requests were ended with the error that lets the frontend go on elsewhere.</summary>
    Released,

    /// <summary>The process ends.</summary>
    GivenUp,
}
