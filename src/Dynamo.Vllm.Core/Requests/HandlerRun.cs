using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Errors;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Core.Requests;

/// <summary>Runs an endpoint's handler for a request: whatever it throws, the caller gets one end.</summary>
/// <remarks>Thread-safe.</remarks>
internal sealed partial class HandlerRun(ILogger logger)
{
    /// <summary>
    /// The caller left before it could be reached. The handler still decides: a decode worker has to pull blocks that nobody else releases.
    /// </summary>
    public async Task UnheardAsync(ServedEndpoint endpoint, RequestContext context)
    {
        context.Cancel(CancellationCause.Disconnect);
        try
        {
            await endpoint.Handler.HandleAsync(context, DiscardedResponses.Instance);
        }
        catch (Exception exception) when (exception is RequestFailedException or ProtocolException or OperationCanceledException)
        {
            using (context.Trace?.Speak())
            {
                LogRequestFailed(logger, context.Id, "transport.disconnected", exception.Message);
            }
        }
    }

    /// <param name="endpoint">Whose request it is.</param>
    /// <param name="handler">The endpoint's, or one in its place.</param>
    /// <param name="context">The request.</param>
    /// <param name="home">Its caller.</param>
    public async Task<RequestEnd> AnswerAsync(ServedEndpoint endpoint, IEndpointHandler handler, RequestContext context, ICallHome home)
    {
        DynamoError? error = null;
        try
        {
            if (endpoint.TurnAway is { } turnedAway)
            {
                throw new RequestFailedException(turnedAway);
            }

            await handler.HandleAsync(context, home);
        }
        catch (RequestFailedException exception)
        {
            error = exception.Error;
        }
        catch (ProtocolException exception)
        {
            endpoint.Metrics.Error("deserialization");
            error = DynamoError.InvalidArgument(exception.Message);
        }
        catch (OperationCanceledException) when (context.Cancelled.IsCancellationRequested)
        {
            error =
                context.Cause == CancellationCause.Operator
                    ? DynamoError.Cancelled("The request was aborted before it reached the engine.")
                    : DynamoError.EngineShutdown("The worker is shutting down.");
        }
        catch (Exception exception) when (exception is not (IOException or System.Net.Sockets.SocketException or ObjectDisposedException))
        {
            // Boundary mapping (style E3): whatever a handler throws, the caller gets an answer.
            using (context.Trace?.Speak())
            {
                LogHandlerFailed(logger, context.Id, endpoint.Id.ToString(), exception);
            }

            error = DynamoError.Unknown($"{exception.GetType().Name}: {exception.Message}");
        }

        if (context.IsCallerGone)
        {
            return RequestEnd.Cancelled; // neither final nor sentinel (request-plane.md, 3)
        }

        if (error is not null)
        {
            if (error.Class != DynamoError.InvalidRequestClass)
            {
                endpoint.Metrics.Error("generate"); // faults of ours: a client's mistake is none
            }

            using (context.Trace?.Speak())
            {
                LogRequestFailed(logger, context.Id, error.Reason, error.Message);
            }

            await home.WriteErrorAsync(error);
        }

        await home.CompleteAsync();
        return error is null ? RequestEnd.Finished : RequestEnd.Of(error);
    }

    [LoggerMessage(EventId = 2007, Level = LogLevel.Error, Message = "Request {RequestId} to {Endpoint} failed")]
    private static partial void LogHandlerFailed(ILogger logger, string requestId, string endpoint, Exception exception);

    [LoggerMessage(EventId = 2008, Level = LogLevel.Information, Message = "Request {RequestId} ended with {Reason}: {Problem}")]
    private static partial void LogRequestFailed(ILogger logger, string requestId, string reason, string problem);
}
