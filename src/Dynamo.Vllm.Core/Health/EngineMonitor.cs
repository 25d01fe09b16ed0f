using Dynamo.Vllm.Core.Engines;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Core.Health;

/// <summary>Watches the engine: its own health check, as the reference does, and the stalls that this check does not see.</summary>
/// <remarks>
/// A stall is work pending and no step for the stall limit: first the process is not ready and not live, then, after as long again, it ends.
/// While a control call has paused the engine there is no stall.
/// </remarks>
public sealed partial class EngineMonitor
{
    private readonly IEngine _engine;
    private readonly EngineMonitorOptions _options;
    private readonly HealthState _health;
    private readonly TimeProvider _time;
    private readonly ILogger<EngineMonitor> _logger;

    public EngineMonitor(IEngine engine, EngineMonitorOptions options, HealthState health, TimeProvider time, ILogger<EngineMonitor> logger)
    {
        _engine = engine;
        _options = options;
        _health = health;
        _time = time;
        _logger = logger;
    }

    /// <summary>A control call has stopped the engine on purpose.</summary>
    public bool IsPaused { get; set; }

    /// <summary>Runs until cancelled or until the engine must be given up.</summary>
    /// <returns>Why the process has to end, or null when cancelled.</returns>
    public async Task<string?> RunAsync(CancellationToken cancellationToken)
    {
        try
        {
            while (!cancellationToken.IsCancellationRequested)
            {
                if (await CheckAsync(cancellationToken).ConfigureAwait(false) is { } fatal)
                {
                    _health.Fault = fatal;
                    LogFatal(_logger, fatal);
                    return fatal;
                }

                await Task.WhenAny(_engine.Died, Task.Delay(_options.Interval, _time, cancellationToken)).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            // Normal stop.
        }

        return null;
    }

    private async Task<string?> CheckAsync(CancellationToken cancellationToken)
    {
        if (_engine.Died.IsCompleted)
        {
            return await _engine.Died.ConfigureAwait(false);
        }

        if (CheckStall() is { } stalled)
        {
            return stalled;
        }

        try
        {
            var check = _engine.CallAsync("check_health", null, cancellationToken);
            await (_options.CheckTimeout > TimeSpan.Zero ? check.WaitAsync(_options.CheckTimeout, _time, cancellationToken) : check).ConfigureAwait(false);
            return null;
        }
        catch (TimeoutException)
        {
            return $"the interpreter did not answer the health check within {_options.CheckTimeout.TotalSeconds:0.#} s";
        }
        catch (EngineCallException exception)
        {
            return $"the engine is unhealthy: {exception.PythonType}: {exception.Message}";
        }
    }

    private string? CheckStall()
    {
        var silent = _time.GetElapsedTime(_engine.LastProgress);
        if (_options.StallTimeout <= TimeSpan.Zero || IsPaused || _engine.RunningRequests == 0 || silent < _options.StallTimeout)
        {
            if (_health.Fault is not null)
            {
                _health.Fault = null;
                LogRecovered(_logger);
            }

            return null;
        }

        var text = $"the engine has {_engine.RunningRequests} requests and made no step for {silent.TotalSeconds:0} s";
        if (silent >= _options.StallTimeout * 2)
        {
            return text;
        }

        if (_health.Fault is null)
        {
            _health.Fault = text;
            LogStalled(_logger, text, (_options.StallTimeout * 2).TotalSeconds);
        }

        return null;
    }

    [LoggerMessage(EventId = 2301, Level = LogLevel.Critical, Message = "Giving the engine up: {Reason}")]
    private static partial void LogFatal(ILogger logger, string reason);

    [LoggerMessage(EventId = 2302, Level = LogLevel.Error, Message = "Stall: {Reason}. Not ready; the process ends if it lasts {LimitSeconds} s")]
    private static partial void LogStalled(ILogger logger, string reason, double limitSeconds);

    [LoggerMessage(EventId = 2303, Level = LogLevel.Warning, Message = "The engine makes steps again")]
    private static partial void LogRecovered(ILogger logger);
}
