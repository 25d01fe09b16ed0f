using Dynamo.Vllm.Core.Lifecycle;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Core.KvEvents;

/// <summary>The loops of the relay. One that fails is told and begins again: routing gets worse without it, serving does not.</summary>
/// <remarks>One caller; the loops run on its scheduler.</remarks>
internal sealed partial class RelayLoops(TimeProvider time, ILogger logger) : IDisposable
{
    /// <summary>Keeps a permanent fault from spinning.</summary>
    private static readonly TimeSpan RestartWait = TimeSpan.FromSeconds(1);

    private readonly CancellationTokenSource _stopping = new();
    private readonly List<Task> _loops = [];

    public void Run(string name, Func<CancellationToken, Task> loop) => _loops.Add(SuperviseAsync(name, loop));

    public async Task StopAsync()
    {
        await Background.CancelAsync(_stopping);
        await Task.WhenAll(_loops);
    }

    public void Dispose() => _stopping.Dispose();

    private async Task SuperviseAsync(string name, Func<CancellationToken, Task> loop)
    {
        while (!_stopping.IsCancellationRequested)
        {
            try
            {
                await Task.Yield();
                await loop(_stopping.Token);
                return;
            }
            catch (OperationCanceledException) when (_stopping.IsCancellationRequested)
            {
                return; // normal stop
            }
            catch (Exception exception) when (exception is not OutOfMemoryException)
            {
                // Loop supervision (style E3).
                LogLoopFailed(logger, name, exception);
                await Task.Delay(RestartWait, time, _stopping.Token)
                    .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ContinueOnCapturedContext);
            }
        }
    }

    [LoggerMessage(EventId = 2434, Level = LogLevel.Error, Message = "KV routing: the loop '{Name}' failed and is started again")]
    private static partial void LogLoopFailed(ILogger logger, string name, Exception exception);
}
