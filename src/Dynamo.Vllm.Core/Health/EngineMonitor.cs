using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Lifecycle;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Core.Health;

/// <summary>Watches the engine by vLLM's own health check, as the reference does.
/// What this check does not see is <see cref="Stalls.StallWatch"/>'s.</summary>
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

    /// <summary>Runs until cancelled or until the engine must be given up.</summary>
    /// <returns>Why the process has to end, or null when cancelled.</returns>
    public async Task<string?> RunAsync(LoopPulse pulse, CancellationToken cancellationToken)
    {
        try
        {
            while (!cancellationToken.IsCancellationRequested)
            {
                Beat(pulse);
                if (await CheckAsync(cancellationToken) is { } fatal)
                {
                    _health.Fault = fatal;
                    LogFatal(_logger, fatal);
                    return fatal;
                }

                await Task.WhenAny(_engine.Died, Task.Delay(_options.Interval, _time, cancellationToken));
            }
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            // Normal stop.
        }

        return null;
    }

    private void Beat(LoopPulse pulse)
    {
        if (_options.CheckTimeout > TimeSpan.Zero)
        {
            pulse.Beat(_options.CheckTimeout + _options.Interval + LoopPulse.Tolerance);
        }
    }

    private async Task<string?> CheckAsync(CancellationToken cancellationToken)
    {
        if (_engine.Died.IsCompleted)
        {
            return await _engine.Died;
        }

        try
        {
            var check = _engine.Control.CheckHealthAsync(cancellationToken);
            await (_options.CheckTimeout > TimeSpan.Zero ? check.WaitAsync(_options.CheckTimeout, _time, cancellationToken) : check);
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

    [LoggerMessage(EventId = 2301, Level = LogLevel.Critical, Message = "Giving the engine up: {Reason}")]
    private static partial void LogFatal(ILogger logger, string reason);
}
