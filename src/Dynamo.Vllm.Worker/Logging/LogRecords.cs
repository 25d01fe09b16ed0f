using System.Diagnostics;
using System.Threading.Channels;
using Dynamo.Vllm.Transports.Otlp;

namespace Dynamo.Vllm.Worker.Logging;

/// <summary>Keeps the lines of the log for a collector: those that are written. Thread-safe; no log call waits.</summary>
/// <remarks>It listens from the start of the process, before anything can be sent; what does not fit is dropped and counted.</remarks>
internal sealed class LogRecords : ILoggerProvider
{
    /// <summary>Characters of a sentence and of a field: a stack trace fits, a configuration does not need to.</summary>
    private const int LengthMax = 8192;

    private readonly DynamoLogFilter _filter;
    private readonly TimeProvider _time;
    private readonly Channel<OtlpLogRecord> _queue;
    private long _dropped;

    /// <param name="filter">Which lines.</param>
    /// <param name="queued">Of those that wait.</param>
    /// <param name="time">Clock.</param>
    public LogRecords(DynamoLogFilter filter, int queued, TimeProvider time)
    {
        _filter = filter;
        _time = time;
        // Wait: TryWrite reports full, and the line is dropped there.
        _queue = Channel.CreateBounded<OtlpLogRecord>(new BoundedChannelOptions(queued) { SingleReader = true });
    }

    public ChannelReader<OtlpLogRecord> Waiting => _queue.Reader;

    public long Dropped => Interlocked.Read(ref _dropped);

    public ILogger CreateLogger(string categoryName) => new Listener(this, categoryName, _filter.LevelOf(categoryName));

    /// <summary>Nothing will be sent: what waits is forgotten, and nothing more is kept.</summary>
    public void Close()
    {
        _queue.Writer.TryComplete();
        while (_queue.Reader.TryRead(out _))
        {
            // forgotten
        }
    }

    public void Dispose() => Close();

    private void Add(OtlpLogRecord record)
    {
        if (!_queue.Writer.TryWrite(record))
        {
            Interlocked.Increment(ref _dropped);
        }
    }

    private static string Shorten(string text) => LogText.Shorten(text, LengthMax);

    private static List<KeyValuePair<string, string>> Fields(object? state, Exception? exception)
    {
        var fields = new List<KeyValuePair<string, string>>();
        foreach (var (name, value) in LogFields.Of(state))
        {
            if (value is not null)
            {
                fields.Add(new(name, Shorten(value.ToString() ?? "")));
            }
        }

        if (exception is not null)
        {
            fields.Add(new("exception.type", exception.GetType().FullName ?? ""));
            fields.Add(new("exception.message", Shorten(exception.Message)));
            fields.Add(new("exception.stacktrace", Shorten(exception.ToString())));
        }

        return fields;
    }

    private sealed class Listener(LogRecords owner, string category, LogLevel level) : ILogger
    {
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
            if (IsEnabled(logLevel))
            {
                var text = Shorten(format(state, exception));
                var span = Activity.Current?.Context ?? default;
                owner.Add(
                    new OtlpLogRecord(
                        owner._time.GetUtcNow(),
                        logLevel,
                        LogLevels.Word(logLevel),
                        category,
                        eventId,
                        text,
                        Fields(state, exception),
                        span
                    )
                );
            }
        }
    }
}
