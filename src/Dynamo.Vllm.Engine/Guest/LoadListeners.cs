using System.Collections.Immutable;
using System.Runtime.InteropServices;
using Dynamo.Vllm.Core.Engines;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Engine.Guest;

/// <summary>Whoever wants to know each step's load.</summary>
/// <remarks>One that throws loses that step's report; it harms neither the engine nor the others.</remarks>
internal sealed partial class LoadListeners(ILogger logger)
{
    private readonly Lock _notifying = new();
    private readonly Dictionary<int, double> _latest = []; // by rank
    private ImmutableArray<Action<EngineLoad>> _listeners = [];
    private bool _hasFailed;

    public void Add(Action<EngineLoad> listener) => ImmutableInterlocked.Update(ref _listeners, list => list.Add(listener));

    public void Remove(Action<EngineLoad> listener) => ImmutableInterlocked.Update(ref _listeners, list => list.Remove(listener));

    /// <summary>One at a time: the guest and the engine itself both tell of steps, and the guest's way is the longer one.</summary>
    /// <param name="load">After a step; passed over if a later one has been told.</param>
    /// <param name="sampledAt">The monotonic clock of the engine's host, in seconds.</param>
    public void Notify(EngineLoad load, double sampledAt)
    {
        lock (_notifying)
        {
            ref var latest = ref CollectionsMarshal.GetValueRefOrAddDefault(_latest, load.Rank, out var isKnown);
            if (!isKnown || sampledAt >= latest)
            {
                latest = sampledAt;
                NotifyAll(load);
            }
        }
    }

    private void NotifyAll(EngineLoad load)
    {
        foreach (var listener in _listeners)
        {
            try
            {
                listener(load);
            }
            catch (Exception exception)
            {
                // Loop supervision (style E3): the delivery loop has tokens to deliver.
                if (!_hasFailed)
                {
                    _hasFailed = true; // once: it would come back with every step
                    LogListenerFailed(logger, exception);
                }
            }
        }
    }

    [LoggerMessage(
        EventId = 4005,
        Level = LogLevel.Error,
        Message = "A listener of the engine's load failed; this is a bug of this worker"
    )]
    private static partial void LogListenerFailed(ILogger logger, Exception exception);
}
