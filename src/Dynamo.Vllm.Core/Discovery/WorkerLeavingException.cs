namespace Dynamo.Vllm.Core.Discovery;

/// <summary>The worker leaves, so nothing of it may appear in discovery any more.</summary>
public sealed class WorkerLeavingException : InvalidOperationException
{
    public WorkerLeavingException()
        : base("the worker is shutting down and registers nothing any more") { }
}
