using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Core.Health.Stalls;

public sealed partial class StallWatch
{
    [LoggerMessage(
        EventId = 2302,
        Level = LogLevel.Error,
        Message = "Stall: {Reason}; {Running} requests run. Not ready and out of discovery; the process ends if nothing comes for "
            + "{LimitSeconds} s"
    )]
    private static partial void LogSuspect(ILogger logger, string reason, int running, double limitSeconds);

    [LoggerMessage(EventId = 2303, Level = LogLevel.Warning, Message = "The engine answers again after {Seconds:F0} s")]
    private static partial void LogRecovered(ILogger logger, double seconds);

    [LoggerMessage(
        EventId = 2304,
        Level = LogLevel.Error,
        Message = "Stall: ending {Running} requests so that their callers can go on elsewhere: {Reason}"
    )]
    private static partial void LogReleased(ILogger logger, int running, string reason);

    [LoggerMessage(EventId = 2305, Level = LogLevel.Critical, Message = "Giving the engine up: {Reason}")]
    private static partial void LogGivenUp(ILogger logger, string reason);

    [LoggerMessage(EventId = 2306, Level = LogLevel.Warning, Message = "Discovery cannot be told about the state of the engine")]
    private static partial void LogCannotTellDiscovery(ILogger logger, Exception exception);
}
