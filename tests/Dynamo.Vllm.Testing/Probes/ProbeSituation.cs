namespace Dynamo.Vllm.Testing.Probes;

/// <summary>What may keep a worker from answering its probes.</summary>
public enum ProbeSituation
{
    /// <summary>Nothing: for comparison.</summary>
    Idle,

    /// <summary>Python holds its lock for half a minute.</summary>
    InterpreterBusy,

    /// <summary>The engine's process is stopped, with requests under way.</summary>
    EngineFrozen,

    /// <summary>A thousand requests are answered at once.</summary>
    ThousandStreams,

    /// <summary>A thousand connections that say nothing are open to the status port of a process that may open 512 files.</summary>
    ConnectionsFull,
}
