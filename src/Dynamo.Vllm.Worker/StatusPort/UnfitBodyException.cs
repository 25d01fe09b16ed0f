namespace Dynamo.Vllm.Worker.StatusPort;

/// <summary>A body that is not what a route takes.</summary>
internal sealed class UnfitBodyException : Exception
{
    public UnfitBodyException(int status, string message, Exception? inner = null)
        : base(message, inner) => Status = status;

    public int Status { get; }
}
