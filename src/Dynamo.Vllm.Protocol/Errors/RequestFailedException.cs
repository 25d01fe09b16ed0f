namespace Dynamo.Vllm.Protocol.Errors;

/// <summary>A request ends with <see cref="Error"/>. Thrown by handlers and the engine, turned into an error item at the stream.</summary>
public sealed class RequestFailedException : Exception
{
    public RequestFailedException(DynamoError error)
        : base(error.Message) => Error = error;

    public RequestFailedException(DynamoError error, Exception innerException)
        : base(error.Message, innerException) => Error = error;

    public DynamoError Error { get; }
}
