using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Core.Requests;

public sealed partial class RequestDispatcher
{
    [LoggerMessage(EventId = 2001, Level = LogLevel.Warning, Message = "Refused a request for unknown endpoint {Route}")]
    private static partial void LogUnknownEndpoint(ILogger logger, string route);

    [LoggerMessage(
        EventId = 2002,
        Level = LogLevel.Warning,
        Message = "Refused a request: {Running} are running and {Queued} waiting, which is the limit"
    )]
    private static partial void LogOverloaded(ILogger logger, int running, int queued);

    [LoggerMessage(EventId = 2003, Level = LogLevel.Error, Message = "A request to {Endpoint} cannot be answered: {Problem}")]
    private static partial void LogUnanswerable(ILogger logger, string endpoint, string problem);

    [LoggerMessage(
        EventId = 2004,
        Level = LogLevel.Warning,
        Message = "Request {RequestId}: cannot connect to the caller at {Address}: {Problem}"
    )]
    private static partial void LogCannotDial(ILogger logger, string requestId, string address, string problem);

    [LoggerMessage(EventId = 2005, Level = LogLevel.Debug, Message = "Request {RequestId}: the caller is gone: {Problem}")]
    private static partial void LogCallerGone(ILogger logger, string requestId, string problem);

    [LoggerMessage(EventId = 2006, Level = LogLevel.Debug, Message = "Request {RequestId} was cancelled by {Cause}")]
    private static partial void LogCancelled(ILogger logger, string requestId, CancellationCause cause);

    [LoggerMessage(EventId = 2007, Level = LogLevel.Error, Message = "Request {RequestId} to {Endpoint} failed")]
    private static partial void LogHandlerFailed(ILogger logger, string requestId, string endpoint, Exception exception);

    [LoggerMessage(EventId = 2008, Level = LogLevel.Information, Message = "Request {RequestId} ended with {Reason}: {Problem}")]
    private static partial void LogRequestFailed(ILogger logger, string requestId, string reason, string problem);

    [LoggerMessage(EventId = 2009, Level = LogLevel.Error, Message = "Serving a request to {Endpoint} broke")]
    private static partial void LogUnexpected(ILogger logger, string endpoint, Exception exception);
}
