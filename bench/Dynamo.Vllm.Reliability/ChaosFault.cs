namespace Dynamo.Vllm.Reliability;

/// <summary>What happens to a fleet again and again under load. Each is over, and the fleet whole again, before the next.</summary>
internal enum ChaosFault
{
    /// <summary>SIGKILL to a worker; a new one takes its place.</summary>
    WorkerKilled,

    /// <summary>SIGTERM, as in a rolling update; a new one takes its place.</summary>
    WorkerStopped,

    /// <summary>SIGSTOP to a worker, and SIGCONT some seconds later.</summary>
    WorkerFrozen,

    /// <summary>SIGKILL to EngineCore; a new worker takes the place of the one that ends.</summary>
    EngineKilled,

    /// <summary>SIGSTOP to the engine's processes, and SIGCONT some seconds later.</summary>
    EngineFrozen,

    /// <summary>SIGKILL to nats-server, which is started again.</summary>
    NatsKilled,

    /// <summary>SIGSTOP to nats-server, and SIGCONT some seconds later.</summary>
    NatsFrozen,

    /// <summary>SIGKILL to etcd, which is started again with its data.</summary>
    EtcdKilled,

    /// <summary>SIGSTOP to etcd, and SIGCONT some seconds later: less than a lease lives.</summary>
    EtcdFrozen,

    /// <summary>SIGKILL to etcd, which is started again without its data.</summary>
    EtcdEmptied,
}
