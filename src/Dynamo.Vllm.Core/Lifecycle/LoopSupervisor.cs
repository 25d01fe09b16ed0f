using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Core.Lifecycle;

/// <summary>Owner of the loops of one stage: each has a name, and a rule for its failure. None ends unnoticed.</summary>
/// <remarks>Loops begin on the pool and end by their token. Thread-safe.</remarks>
public sealed partial class LoopSupervisor : IDisposable
{
    private static readonly TimeSpan RestartWait = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan RestartWaitMax = TimeSpan.FromSeconds(30);

    private readonly Action<string> _fatal;
    private readonly LoopPulses _pulses;
    private readonly TimeProvider _time;
    private readonly ILogger<LoopSupervisor> _logger;
    private readonly CancellationTokenSource _stop = new();
    private readonly Lock _lock = new();
    private readonly List<Task> _loops = [];

    /// <param name="fatal">Told why the worker cannot go on.</param>
    /// <param name="pulses">Where loops are seen that stand still.</param>
    /// <param name="time">Clock.</param>
    /// <param name="logger">Log.</param>
    public LoopSupervisor(Action<string> fatal, LoopPulses pulses, TimeProvider time, ILogger<LoopSupervisor> logger)
    {
        _fatal = fatal;
        _pulses = pulses;
        _time = time;
        _logger = logger;
    }

    /// <summary>Starts a loop that watches something: the reason it returns, if any, ends the worker.</summary>
    /// <param name="name">For the log, and for those who see it stand still.</param>
    /// <param name="rule">What its failure means.</param>
    /// <param name="loop">Keeps its pulse; at its end that rests.</param>
    public void Watch(string name, LoopRule rule, Func<LoopPulse, CancellationToken, Task<string?>> loop)
    {
        var pulse = _pulses.Add(name);
        Run(
            name,
            rule,
            async token =>
            {
                try
                {
                    return await loop(pulse, token);
                }
                finally
                {
                    pulse.Rest();
                }
            }
        );
    }

    /// <summary>Starts a loop.</summary>
    public void Start(string name, LoopRule rule, Func<CancellationToken, Task> loop) =>
        Run(
            name,
            rule,
            async token =>
            {
                await loop(token);
                return null;
            }
        );

    /// <summary>Cancels every loop and waits until each has ended, or until <paramref name="limit"/>.</summary>
    /// <exception cref="TimeoutException">A loop did not heed its token.</exception>
    public async Task StopAsync(TimeSpan limit)
    {
        await Background.CancelAsync(_stop);
        Task[] loops;
        lock (_lock)
        {
            loops = [.. _loops];
        }

        await Task.WhenAll(loops).WaitAsync(limit, _time);
    }

    public void Dispose() => _stop.Dispose();

    private void Run(string name, LoopRule rule, Func<CancellationToken, Task<string?>> loop)
    {
        lock (_lock)
        {
            _loops.Add(Background.Run(() => RunAsync(name, rule, loop)));
        }
    }

    private async Task RunAsync(string name, LoopRule rule, Func<CancellationToken, Task<string?>> loop)
    {
        for (var wait = RestartWait; !_stop.IsCancellationRequested; wait = wait < RestartWaitMax / 2 ? wait * 2 : RestartWaitMax)
        {
            try
            {
                if (await loop(_stop.Token) is { } reason)
                {
                    _fatal(reason);
                }

                return;
            }
            catch (OperationCanceledException) when (_stop.IsCancellationRequested)
            {
                return;
            }
            catch (Exception exception) when (rule == LoopRule.Restart)
            {
                // Loop supervision (style E3): whatever it was, the next round may do better.
                LogRestart(_logger, name, wait.TotalSeconds, exception);
                await Task.Delay(wait, _time, _stop.Token)
                    .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ContinueOnCapturedContext);
            }
            catch (Exception exception)
            {
                // Loop supervision (style E3): nobody awaits this, so the worker is told.
                LogFatal(_logger, name, exception);
                _fatal($"{name} failed: {exception.GetType().Name}: {exception.Message}");
                return;
            }
        }
    }

    [LoggerMessage(EventId = 2611, Level = LogLevel.Error, Message = "Loop '{Name}' failed and begins again in {Seconds} s")]
    private static partial void LogRestart(ILogger logger, string name, double seconds, Exception exception);

    [LoggerMessage(EventId = 2612, Level = LogLevel.Critical, Message = "Loop '{Name}' failed, and the worker does not go on without it")]
    private static partial void LogFatal(ILogger logger, string name, Exception exception);
}
