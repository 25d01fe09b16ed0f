namespace Dynamo.Vllm.Worker.Logging;

/// <summary>How the reference spells and colours the levels.</summary>
internal static class LogLevels
{
    public static string Word(LogLevel level) =>
        level switch
        {
            LogLevel.Trace => "TRACE",
            LogLevel.Debug => "DEBUG",
            LogLevel.Information => "INFO",
            LogLevel.Warning => "WARN",
            _ => "ERROR",
        };

    public static string Colour(LogLevel level) =>
        level switch
        {
            LogLevel.Information => "\x1b[32m",
            LogLevel.Warning => "\x1b[33m",
            >= LogLevel.Error => "\x1b[31m",
            _ => "\x1b[34m",
        };
}
