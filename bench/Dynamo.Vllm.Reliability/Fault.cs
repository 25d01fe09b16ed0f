namespace Dynamo.Vllm.Reliability;

/// <summary>What happens to the first of two workers under load. Each is done once, a third of the way through the load.</summary>
internal enum Fault
{
    None,

    /// <summary>SIGSTOP to the engine's processes; SIGCONT after the freeze.</summary>
    EngineFrozen,

    /// <summary>SIGKILL to EngineCore; a new worker takes the place of the one that ends.</summary>
    EngineKilled,

    /// <summary>SIGKILL to the worker; a new one takes its place.</summary>
    WorkerKilled,

    /// <summary>SIGSTOP to the worker itself; SIGCONT after the freeze.</summary>
    WorkerFrozen,

    /// <summary>SIGTERM, as in a rolling update; a new worker takes its place.</summary>
    WorkerStopped,
}
