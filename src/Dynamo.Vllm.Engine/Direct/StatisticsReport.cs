using System.Buffers;
using System.Text.Json;
using Dynamo.Vllm.Engine.Guest;

namespace Dynamo.Vllm.Engine.Direct;

/// <summary>Hands the statistics of steps to vLLM's loggers, ten times a second at most.</summary>
/// <remarks>
/// vLLM's own front end does it for each step, which costs the interpreter's thread more than the tokens themselves where few requests run.
/// A report that finds the mailbox full stays, and the next steps are added to it, up to a bound at which it is dropped. Thread-safe.
/// </remarks>
internal sealed class StatisticsReport : IDisposable
{
    /// <summary>Age at which a report is sent. Whoever reads the metrics asks for it first.</summary>
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(100);

    private readonly GuestMailbox _mailbox;
    private readonly TimeProvider _time;
    private readonly Lock _lock = new();
    private readonly StepStatistics _statistics = new();
    private readonly ArrayBufferWriter<byte> _buffer = new(1024);
    private readonly ITimer _timer;
    private bool _isDue;

    public StatisticsReport(GuestMailbox mailbox, TimeProvider time)
    {
        _mailbox = mailbox;
        _time = time;
        _timer = time.CreateTimer(report => ((StatisticsReport)report!).Send(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    /// <summary>Unix time in seconds.</summary>
    public double Now => (_time.GetUtcNow() - DateTimeOffset.UnixEpoch).TotalSeconds;

    /// <param name="step">The next one.</param>
    /// <param name="statistics">The scheduler's as MessagePack: they go on as they are where they hold more than is added up.</param>
    public void Add(in EngineStep step, ReadOnlySpan<byte> statistics)
    {
        lock (_lock)
        {
            if (step.Scheduler is { IsReset: true } && !_statistics.IsEmpty)
            {
                Post([]); // what was counted before the cache was emptied
            }

            _statistics.Add(step, Now);
            if (step.Scheduler is { IsRare: true })
            {
                Post(statistics); // with the steps before it, so that their order stays
            }
            else if (_statistics.IsFull)
            {
                Post([]);
            }
            else if (!_isDue)
            {
                _isDue = true;
                _timer.Change(Interval, Timeout.InfiniteTimeSpan);
            }
        }
    }

    /// <summary>Sends what there is now: a message that is posted afterwards finds it counted.</summary>
    public void Send()
    {
        lock (_lock)
        {
            _isDue = false;
            if (!_statistics.IsEmpty)
            {
                Post([]);
            }
        }
    }

    public void Dispose() => _timer.Dispose();

    private void Post(ReadOnlySpan<byte> rare)
    {
        _buffer.ResetWrittenCount();
        using (var json = new Utf8JsonWriter(_buffer, new JsonWriterOptions { SkipValidation = true }))
        {
            _statistics.Write(json, Now);
        }

        if (_mailbox.TryPost(GuestOperation.Steps, 0, _buffer.WrittenSpan, rare, isUrgent: false) || _statistics.IsAtBound)
        {
            _statistics.Clear();
        }
    }
}
