namespace Dynamo.Vllm.Core.Lifecycle;

/// <summary>Where a <see cref="StageSequence"/> is in its life.</summary>
public enum StagePhase
{
    /// <summary>A stage comes up.</summary>
    Starting,

    /// <summary>Every stage is up.</summary>
    Up,

    /// <summary>A stage goes down.</summary>
    Stopping,

    /// <summary>Every stage that began is down.</summary>
    Down,
}
