using System.Collections.Concurrent;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Worker.Logging;

/// <summary>Log lines on stderr in the reference's two forms: readable, or one JSON object a line (behaviour.md, 11).</summary>
internal sealed class DynamoLoggerProvider : ILoggerProvider
{
    private readonly ConcurrentDictionary<string, DynamoLogger> _loggers = new();
    private readonly DynamoLogFilter _filter;
    private readonly bool _isJson;
    private readonly bool _hasColours;
    private readonly Stream _output;
    private readonly Lock _lock = new();

    public DynamoLoggerProvider(DynamoLogFilter filter, bool isJson, bool hasColours, Stream output)
    {
        _filter = filter;
        _isJson = isJson;
        _hasColours = hasColours;
        _output = output;
    }

    public ILogger CreateLogger(string categoryName) => _loggers.GetOrAdd(categoryName, name => new DynamoLogger(this, name, _filter.LevelOf(name)));

    public void Dispose() => _output.Flush();

    private void Write(LogLevel level, string category, string message, Exception? exception, IReadOnlyList<KeyValuePair<string, object?>>? fields)
    {
        var line = _isJson ? Json(level, category, message, exception, fields) : Readable(level, category, message, exception);
        lock (_lock)
        {
            // One write a line, so that lines of child processes on the same stderr do not cut into it.
            _output.Write(line);
            _output.Flush();
        }
    }

    private byte[] Readable(LogLevel level, string category, string message, Exception? exception)
    {
        var text = new StringBuilder(128 + message.Length);
        text.Append(DateTime.UtcNow.ToString("yyyy-MM-dd'T'HH:mm:ss.ffffff'Z'", System.Globalization.CultureInfo.InvariantCulture)).Append(' ');
        text.Append(_hasColours ? Colour(level) : "").Append(Word(level).PadLeft(5)).Append(_hasColours ? "\x1b[0m" : "").Append(' ');
        text.Append(category).Append(": ").Append(message).Append('\n');
        if (exception is not null)
        {
            text.Append(exception).Append('\n');
        }

        return Encoding.UTF8.GetBytes(text.ToString());
    }

    private static byte[] Json(LogLevel level, string category, string message, Exception? exception, IReadOnlyList<KeyValuePair<string, object?>>? fields)
    {
        using var buffer = new MemoryStream(256);
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            json.WriteStartObject();
            json.WriteString("time", DateTime.UtcNow.ToString("yyyy-MM-dd'T'HH:mm:ss.ffffff'Z'", System.Globalization.CultureInfo.InvariantCulture));
            json.WriteString("level", Word(level));
            json.WriteString("target", category);
            json.WriteString("message", message);
            foreach (var (name, value) in fields ?? [])
            {
                if (name != "{OriginalFormat}")
                {
                    json.WriteString(JsonNamingPolicy.SnakeCaseLower.ConvertName(name), value?.ToString());
                }
            }

            if (exception is not null)
            {
                json.WriteString("exception", exception.ToString());
            }

            json.WriteEndObject();
        }

        buffer.WriteByte((byte)'\n');
        return buffer.ToArray();
    }

    private static string Word(LogLevel level) => level switch
    {
        LogLevel.Trace => "TRACE",
        LogLevel.Debug => "DEBUG",
        LogLevel.Information => "INFO",
        LogLevel.Warning => "WARN",
        _ => "ERROR",
    };

    private static string Colour(LogLevel level) => level switch
    {
        LogLevel.Information => "\x1b[32m",
        LogLevel.Warning => "\x1b[33m",
        >= LogLevel.Error => "\x1b[31m",
        _ => "\x1b[34m",
    };

    private sealed class DynamoLogger : ILogger
    {
        private readonly DynamoLoggerProvider _provider;
        private readonly string _category;
        private readonly LogLevel _level;

        public DynamoLogger(DynamoLoggerProvider provider, string category, LogLevel level)
        {
            _provider = provider;
            _category = category;
            _level = level;
        }

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => logLevel >= _level && logLevel != LogLevel.None;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            if (IsEnabled(logLevel))
            {
                _provider.Write(logLevel, _category, formatter(state, exception), exception, state as IReadOnlyList<KeyValuePair<string, object?>>);
            }
        }
    }
}
