namespace Dynamo.Vllm.Core.Requests;

/// <summary>What an endpoint does with a request.</summary>
public interface IEndpointHandler
{
    /// <summary>Writes the items of the response. The end of the stream is the caller's business.</summary>
    /// <exception cref="Protocol.Errors.RequestFailedException">Becomes the error item of the stream.</exception>
    Task HandleAsync(RequestContext context, IResponseWriter responses);
}
