namespace Dynamo.Vllm.Worker.ServiceManager;

/// <summary>What the worker does, in one word: <see cref="StatusLine"/> without its details.</summary>
internal enum WorkerState
{
    /// <summary>A stage comes up; the model may load for long.</summary>
    Starting,

    /// <summary>Callers find it, and it answers them.</summary>
    Serving,

    /// <summary>The engine is believed to hang: out of routing, requests that arrive are sent elsewhere.</summary>
    Suspected,

    /// <summary>The engine cannot work any more: the process ends.</summary>
    GivenUp,

    /// <summary>It serves, and something outside of it keeps callers away: etcd or NATS.</summary>
    Unreachable,

    /// <summary>Out of discovery until what runs has ended, then back.</summary>
    Reloading,

    /// <summary>On its way out.</summary>
    Stopping,

    /// <summary>The start ended with an error.</summary>
    Failed,
}
