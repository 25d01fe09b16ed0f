using System.Collections.Concurrent;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Testing.Logs;

/// <summary>Keeps every log line of a test, and lets it wait for one.</summary>
public sealed class LogCapture : ILoggerFactory
{
    private readonly ConcurrentQueue<LogLine> _lines = new();
    private readonly Lock _lock = new();
    private readonly List<(int EventId, TaskCompletionSource<LogLine> Seen)> _waiting = [];

    public IReadOnlyCollection<LogLine> Lines => _lines;

    /// <summary>Everything, for the message of a failed assertion.</summary>
    public string Text => string.Join(Environment.NewLine, _lines.Select(line => $"{line.Level} {line.EventId}: {line.Text}"));

    public ILogger CreateLogger(string categoryName) => new Writer<object>(this);

    public void AddProvider(ILoggerProvider provider) => throw new NotSupportedException("lines are kept here only");

    public void Dispose()
    {
        // Nothing is held.
    }

    public ILogger<T> For<T>() => new Writer<T>(this);

    /// <summary>The next line with this event id. Arm it before what causes the line.</summary>
    public async Task<LogLine> Next(int eventId, TimeSpan timeLimit)
    {
        var seen = new TaskCompletionSource<LogLine>(TaskCreationOptions.RunContinuationsAsynchronously);
        lock (_lock)
        {
            _waiting.Add((eventId, seen));
        }

        try
        {
            return await seen.Task.WaitAsync(timeLimit);
        }
        catch (TimeoutException)
        {
            throw new TimeoutException($"no log line {eventId} within {timeLimit}; there were:{Environment.NewLine}{Text}");
        }
    }

    private void Add(LogLine line)
    {
        _lines.Enqueue(line);
        lock (_lock)
        {
            foreach (var (_, seen) in _waiting.Where(waiting => waiting.EventId == line.EventId))
            {
                seen.TrySetResult(line);
            }

            _waiting.RemoveAll(waiting => waiting.EventId == line.EventId);
        }
    }

    private sealed class Writer<T>(LogCapture capture) : ILogger<T>
    {
        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(
            LogLevel logLevel,
            EventId eventId,
            TState state,
            Exception? exception,
            Func<TState, Exception?, string> formatter
        ) =>
            capture.Add(
                new LogLine(
                    logLevel,
                    eventId.Id,
                    formatter(state, exception) + (exception is null ? "" : $" [{exception.GetType().Name}: {exception.Message}]")
                )
            );
    }
}

/// <summary>One line, formatted.</summary>
public sealed record LogLine(LogLevel Level, int EventId, string Text);
