using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Core.Lifecycle;

/// <summary>Brings stages up in order and takes those that began down in
/// reverse. Every stop, whatever its cause, goes through here, once.</summary>
/// <remarks>Thread-safe. A stop that comes while a stage comes up waits until it has returned: cancel its token first.</remarks>
public sealed partial class StageSequence
{
    /// <summary>Over a stage's own limits, which are timers of the same machine.</summary>
    private static readonly TimeSpan Tolerance = TimeSpan.FromSeconds(2);

    /// <summary>The longest that a timer takes is 2^32 - 2 ms; an operator may ask for more.</summary>
    private static readonly TimeSpan TimerMax = TimeSpan.FromDays(49);

    private readonly List<IStage> _stages;
    private readonly TimeProvider _time;
    private readonly ILogger<StageSequence> _logger;
    private readonly Lock _lock = new();
    private readonly Stack<IStage> _begun = [];
    private Task _up = Task.CompletedTask;
    private Task? _down;
    private volatile StagePosition? _position;

    public StageSequence(IEnumerable<IStage> stages, TimeProvider time, ILogger<StageSequence> logger)
    {
        _stages = [.. stages];
        _time = time;
        _logger = logger;
    }

    /// <summary>After each change of <see cref="Position"/>, on the thread that goes on with it: must not wait.</summary>
    public event Action? Moved;

    /// <summary>Null before the start.</summary>
    public StagePosition? Position => _position;

    /// <summary>The longest that a stop takes.</summary>
    public TimeSpan DownLimit => _stages.Aggregate(TimeSpan.Zero, (sum, stage) => sum + stage.DownLimit);

    /// <summary>Runs every stage up. Ends with the first failure, or with <see
    /// cref="OperationCanceledException"/> where a stop was faster.</summary>
    public Task UpAsync(CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            return _up = _down is null
                ? Background.Run(() => BringUpAsync(cancellationToken))
                : Task.FromCanceled(new CancellationToken(canceled: true));
        }
    }

    /// <summary>Takes down what began. A second call waits for the first one, whose cause stays.</summary>
    public Task DownAsync(StopCause cause)
    {
        lock (_lock)
        {
            return _down ??= TakeDownAsync(_up, cause);
        }
    }

    private async Task BringUpAsync(CancellationToken cancellationToken)
    {
        foreach (var stage in _stages)
        {
            cancellationToken.ThrowIfCancellationRequested();
            _begun.Push(stage);
            MoveTo(StagePhase.Starting, stage);
            var started = _time.GetTimestamp();
            await stage.UpAsync(cancellationToken);
            LogUp(_logger, stage.Name, _time.GetElapsedTime(started).TotalSeconds);
        }

        MoveTo(StagePhase.Up, null);
    }

    private async Task TakeDownAsync(Task up, StopCause cause)
    {
        await up.ConfigureAwait(
            ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ForceYielding | ConfigureAwaitOptions.ContinueOnCapturedContext
        );
        foreach (var stage in _begun)
        {
            var started = _time.GetTimestamp();
            MoveTo(StagePhase.Stopping, stage);
            try
            {
                var down = stage.DownAsync(cause);
                if (await Task.WhenAny(down, Task.Delay(LimitOf(stage), _time)) != down)
                {
                    LogLate(_logger, stage.Name, LimitOf(stage).TotalSeconds);
                    continue;
                }

                await down;
                LogDown(_logger, stage.Name, _time.GetElapsedTime(started).TotalSeconds);
            }
            catch (Exception exception)
            {
                // Best-effort cleanup (style E3): a stage that fails must not keep the ones below it from going down.
                LogFailed(_logger, stage.Name, exception);
            }
        }

        MoveTo(StagePhase.Down, null);
    }

    private void MoveTo(StagePhase phase, IStage? stage)
    {
        _position = new StagePosition(phase, stage, stage is null ? 0 : _stages.IndexOf(stage) + 1, _stages.Count);
        Moved?.Invoke();
    }

    private static TimeSpan LimitOf(IStage stage) => stage.DownLimit < TimerMax - Tolerance ? stage.DownLimit + Tolerance : TimerMax;

    [LoggerMessage(EventId = 2601, Level = LogLevel.Debug, Message = "Stage '{Stage}' is up after {Seconds:F3} s")]
    private static partial void LogUp(ILogger logger, string stage, double seconds);

    [LoggerMessage(EventId = 2602, Level = LogLevel.Debug, Message = "Stage '{Stage}' is down after {Seconds:F3} s")]
    private static partial void LogDown(ILogger logger, string stage, double seconds);

    [LoggerMessage(EventId = 2603, Level = LogLevel.Error, Message = "Stage '{Stage}' did not go down within {Seconds} s; going on")]
    private static partial void LogLate(ILogger logger, string stage, double seconds);

    [LoggerMessage(EventId = 2604, Level = LogLevel.Error, Message = "Stage '{Stage}' did not go down cleanly; going on")]
    private static partial void LogFailed(ILogger logger, string stage, Exception exception);
}
