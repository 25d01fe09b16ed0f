using System.Globalization;
using System.Text;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Logging.Console;

namespace Dynamo.Vllm.Worker.Logging;

/// <summary>The reference's readable line: time in UTC with microseconds,
/// level, target, message; an exception in the lines behind it.</summary>
internal sealed class ReadableFormatter : ConsoleFormatter
{
    /// <summary>The reference's time stamp, also in JSON lines.</summary>
    public const string TimeFormat = "yyyy-MM-dd'T'HH:mm:ss.ffffff'Z'";

    private readonly bool _hasColours;
    private readonly TimeProvider _time;

    public ReadableFormatter(bool hasColours, TimeProvider time)
        : base("readable")
    {
        _hasColours = hasColours;
        _time = time;
    }

    public override void Write<TState>(in LogEntry<TState> logEntry, IExternalScopeProvider? scopeProvider, TextWriter textWriter)
    {
        var message = logEntry.Formatter(logEntry.State, logEntry.Exception);
        var text = new StringBuilder(128 + message.Length);
        text.Append(_time.GetUtcNow().ToString(TimeFormat, CultureInfo.InvariantCulture)).Append(' ');
        text.Append(_hasColours ? LogLevels.Colour(logEntry.LogLevel) : "")
            .Append(LogLevels.Word(logEntry.LogLevel).PadLeft(5))
            .Append(_hasColours ? "\x1b[0m" : "");
        text.Append(' ').Append(logEntry.Category).Append(": ");
        LogText.AppendTo(text, message);
        text.Append('\n');
        if (logEntry.Exception is { } exception)
        {
            text.Append("    ");
            LogText.AppendTo(text, exception.ToString());
            text.Append('\n');
        }

        textWriter.Write(text);
    }
}
