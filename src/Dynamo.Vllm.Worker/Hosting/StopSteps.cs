using System.Diagnostics;

namespace Dynamo.Vllm.Worker.Hosting;

/// <summary>The steps of a stage that goes down: one that fails must not keep the next ones from running.</summary>
internal sealed partial class StopSteps
{
    private readonly ILogger<StopSteps> _logger;

    public StopSteps(ILogger<StopSteps> logger) => _logger = logger;

    public async Task TryAsync(string name, Func<Task> step)
    {
        var started = Stopwatch.GetTimestamp();
        try
        {
            await step().ConfigureAwait(false);
            LogStep(_logger, name, Stopwatch.GetElapsedTime(started).TotalSeconds);
        }
        catch (Exception exception)
        {
            // Best-effort cleanup (style E3).
            LogStepFailed(_logger, name, exception);
        }
    }

    [LoggerMessage(EventId = 5001, Level = LogLevel.Debug, Message = "Step '{Step}' took {Seconds:F3} s")]
    private static partial void LogStep(ILogger logger, string step, double seconds);

    [LoggerMessage(EventId = 5002, Level = LogLevel.Error, Message = "Step '{Step}' failed; going on")]
    private static partial void LogStepFailed(ILogger logger, string step, Exception exception);
}
