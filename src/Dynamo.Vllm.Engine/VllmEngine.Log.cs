using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Engine;

public sealed partial class VllmEngine
{
    [LoggerMessage(EventId = 4001, Message = "{PythonMessage}")]
    private static partial void LogPython(ILogger logger, LogLevel level, string pythonMessage);

    [LoggerMessage(EventId = 4002, Level = LogLevel.Critical, Message = "The embedded interpreter failed: {Traceback}")]
    private static partial void LogGuestFailed(ILogger logger, string traceback);

    [LoggerMessage(
        EventId = 4003,
        Level = LogLevel.Critical,
        Message = "A batch of the interpreter is not readable; this is a bug of this worker"
    )]
    private static partial void LogBrokenBatch(ILogger logger, Exception exception);

    [LoggerMessage(
        EventId = 4004,
        Level = LogLevel.Warning,
        Message = "Stream {Stream} is not being read: {Pending} outputs wait; aborting it"
    )]
    private static partial void LogSlowReader(ILogger logger, ulong stream, int pending);
}
