namespace Dynamo.Vllm.Soak;

/// <summary>What the soak does to clients, connections and servers.</summary>
internal enum FaultKind
{
    /// <summary>The next answer is reset after some bytes.</summary>
    CutAnswer,

    /// <summary>All connections of a client are reset now.</summary>
    CutAll,

    /// <summary>Answers stand still for a second. Nothing may be lost.</summary>
    FreezeThenThaw,

    /// <summary>Answers stand still for a second and are reset then.</summary>
    FreezeThenCut,

    /// <summary>The client sees the end of the next answer after some bytes.</summary>
    HalfCloseAnswer,

    /// <summary>The worker sees its caller's end of the next answer close at once.</summary>
    HalfCloseCaller,

    /// <summary>A byte of the next answer arrives inverted.</summary>
    FlipAnswer,

    /// <summary>A byte of the next request arrives inverted (TCP).</summary>
    FlipRequest,

    /// <summary>The next answer arrives in small pieces, late. Nothing may be lost.</summary>
    SlowAnswer,

    /// <summary>A client vanishes in the middle of its request.</summary>
    KillClient,

    /// <summary>The worker is stopped and goes on after less than a second. Nothing may be lost.</summary>
    FreezeWorker,

    /// <summary>The worker's record is removed from the file store.</summary>
    RemoveRecord,

    /// <summary>etcd is killed and started again. No request may be lost.</summary>
    RestartEtcd,

    /// <summary>nats-server is killed and started again. What streams may not be lost.</summary>
    RestartNats,
}
