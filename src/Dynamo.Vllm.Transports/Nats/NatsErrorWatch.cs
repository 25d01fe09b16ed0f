using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Transports.Nats;

/// <summary>Hears of the server's errors on the loop that reads them, before whatever the server sends next is handed on.</summary>
/// <remarks>
/// The library raises its event for them from a queue of its own, at some later time, so that a refused subscription could not be told from
/// one that works. Its log lines are written by the reading loop itself, and their argument <c>Error</c> is the server's text.
/// </remarks>
internal sealed class NatsErrorWatch : ILoggerFactory, ILogger
{
    private readonly Action<string> _seen;

    /// <param name="seen">Must not block: nothing else is read meanwhile.</param>
    public NatsErrorWatch(Action<string> seen) => _seen = seen;

    public ILogger CreateLogger(string categoryName) => this;

    public void AddProvider(ILoggerProvider provider) => throw new NotSupportedException();

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => logLevel == LogLevel.Error;

    public void Log<TState>(
        LogLevel logLevel,
        EventId eventId,
        TState state,
        Exception? exception,
        Func<TState, Exception?, string> formatter
    )
    {
        if (logLevel == LogLevel.Error && state is IReadOnlyList<KeyValuePair<string, object?>> arguments)
        {
            foreach (var (name, value) in arguments)
            {
                if (name == "Error" && value is string error)
                {
                    _seen(error);
                }
            }
        }
    }

    public void Dispose()
    {
        // Nothing to release.
    }
}
