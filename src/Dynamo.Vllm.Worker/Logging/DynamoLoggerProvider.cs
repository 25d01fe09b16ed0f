using System.Collections.Concurrent;
using System.Text;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Logging.Console;

namespace Dynamo.Vllm.Worker.Logging;

/// <summary>Log lines on stderr in one of the reference's two forms (behaviour.md, 11).
/// Formatted by the caller, written by another thread: no log call waits.</summary>
internal sealed partial class DynamoLoggerProvider : ILoggerProvider
{
    private readonly ConcurrentDictionary<string, DynamoLogger> _loggers = new();
    private readonly DynamoLogFilter _filter;
    private readonly ConsoleFormatter _formatter;
    private readonly Func<byte[], bool> _write;

    /// <param name="filter">Which lines are written.</param>
    /// <param name="formatter">How they look.</param>
    /// <param name="write">Takes a line and does not wait.</param>
    public DynamoLoggerProvider(DynamoLogFilter filter, ConsoleFormatter formatter, Func<byte[], bool> write)
    {
        _filter = filter;
        _formatter = formatter;
        _write = write;
    }

    public ILogger CreateLogger(string categoryName) =>
        _loggers.GetOrAdd(categoryName, name => new DynamoLogger(_formatter, name, _filter.LevelOf(name), _write));

    /// <summary>The line that says how many others are missing before it.</summary>
    public byte[] DroppedNotice(long lines)
    {
        byte[] notice = [];
        LogDropped(
            new DynamoLogger(_formatter, typeof(DynamoLoggerProvider).FullName!, LogLevel.Trace, line => (notice = line).Length > 0),
            lines
        );
        return notice;
    }

    public void Dispose() { }

    [LoggerMessage(
        EventId = 5101,
        Level = LogLevel.Warning,
        Message = "{Lines} lines of output were dropped here because nobody read them in time"
    )]
    private static partial void LogDropped(ILogger logger, long lines);

    private sealed class DynamoLogger(ConsoleFormatter formatter, string category, LogLevel level, Func<byte[], bool> write) : ILogger
    {
        [ThreadStatic]
        private static StringWriter? _text;

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => logLevel >= level && logLevel != LogLevel.None;

        public void Log<TState>(
            LogLevel logLevel,
            EventId eventId,
            TState state,
            Exception? exception,
            Func<TState, Exception?, string> format
        )
        {
            if (!IsEnabled(logLevel))
            {
                return;
            }

            var text = _text ??= new StringWriter();
            formatter.Write(new LogEntry<TState>(logLevel, category, eventId, state, exception, format), scopeProvider: null, text);
            var line = Encoding.UTF8.GetBytes(text.ToString());
            text.GetStringBuilder().Clear();
            write(line);
        }
    }
}
