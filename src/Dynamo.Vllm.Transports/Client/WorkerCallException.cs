namespace Dynamo.Vllm.Transports.Client;

/// <summary>A worker refused a request, or its stream broke.</summary>
public sealed class WorkerCallException : Exception
{
    public WorkerCallException(string message)
        : base(message) { }

    /// <summary>The worker said no, in its acknowledgement or in its prologue.</summary>
    public bool IsRefusal { get; init; }
}
