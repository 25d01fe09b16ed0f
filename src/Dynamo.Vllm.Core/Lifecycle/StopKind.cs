namespace Dynamo.Vllm.Core.Lifecycle;

/// <summary>Kinds of stops.</summary>
public enum StopKind
{
    /// <summary>A signal, or whoever runs the host: what runs may finish.</summary>
    Asked,

    /// <summary>The start did not get to its end: nobody was served.</summary>
    StartFailed,

    /// <summary>The engine had to be given up, or a loop that the worker
    /// cannot be without has failed: nothing that runs can finish.</summary>
    Fatal,
}
