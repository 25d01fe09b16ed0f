using System.Collections.Immutable;
using Dynamo.Vllm.Worker.Logging;

namespace Dynamo.Vllm.Worker.StatusPage;

/// <summary>The last warnings and errors of this process's own log, whatever the log's filter is. Thread-safe; no log call waits.</summary>
internal sealed class RecentProblems : ILoggerProvider
{
    public const int Max = 32;

    private const int LengthMax = 500;

    private readonly TimeProvider _time;
    private ImmutableList<RecentProblem> _all = [];

    public RecentProblems(TimeProvider time) => _time = time;

    /// <summary>The newest last.</summary>
    public IReadOnlyList<RecentProblem> All => Volatile.Read(ref _all);

    public ILogger CreateLogger(string categoryName) => new Listener(this);

    public void Dispose() { }

    private void Add(RecentProblem problem) =>
        ImmutableInterlocked.Update(ref _all, static (all, added) => (all.Count < Max ? all : all.RemoveAt(0)).Add(added), problem);

    private sealed class Listener(RecentProblems owner) : ILogger
    {
        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => logLevel is >= LogLevel.Warning and < LogLevel.None;

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
                var text = exception is null ? format(state, null) : $"{format(state, null)}: {exception.Message}";
                var message = LogText.Shorten(text, LengthMax);
                owner.Add(new RecentProblem(owner._time.GetUtcNow(), logLevel.ToString(), eventId.Id, message));
            }
        }
    }
}
