using System.Threading.Channels;
using Dynamo.Vllm.Transports.Otlp;
using Prometheus;

namespace Dynamo.Vllm.Worker.Telemetry;

/// <summary>Sends what waits in a queue to a collector, a batch at a time.</summary>
/// <remarks>What a collector did not take is not sent again: it is one of many. What became of each is counted.</remarks>
/// <typeparam name="T">What is sent.</typeparam>
internal sealed class BatchExport<T>
{
    private readonly string _signal;
    private readonly string _address;
    private readonly BatchLimits _limits;
    private readonly Func<IReadOnlyList<T>, CancellationToken, Task<(long Rejected, string Reason)>> _send;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly ChannelReader<T> _queue;
    private readonly Counter.Child _sent;
    private readonly Counter.Child _failed;
    private bool _isFailing;

    /// <param name="signal">Name of what is sent, for lines of the log.</param>
    /// <param name="endpoint">Where it is sent.</param>
    /// <param name="queue">What waits.</param>
    /// <param name="limits">How it waits.</param>
    /// <param name="counts">Takes a label that says what became of each.</param>
    /// <param name="send">Sends a batch; says how many of it were not taken, and why.</param>
    /// <param name="time">Clock.</param>
    /// <param name="logger">Of the owner.</param>
    public BatchExport(
        string signal,
        Uri endpoint,
        ChannelReader<T> queue,
        BatchLimits limits,
        Counter counts,
        Func<IReadOnlyList<T>, CancellationToken, Task<(long Rejected, string Reason)>> send,
        TimeProvider time,
        ILogger logger
    )
    {
        _signal = signal;
        _address = endpoint.GetLeftPart(UriPartial.Path); // what follows may be a key
        _queue = queue;
        _limits = limits;
        _send = send;
        _time = time;
        _logger = logger;
        _sent = counts.WithLabels("sent");
        _failed = counts.WithLabels("failed");
    }

    /// <summary>Whether the last export failed.</summary>
    public bool IsFailing => Volatile.Read(ref _isFailing);

    /// <summary>Exports until it is told to stop.</summary>
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        BatchExportLog.Begin(_logger, _signal, _address);
        while (await _queue.WaitToReadAsync(cancellationToken).ConfigureAwait(false))
        {
            if (_queue.Count < _limits.Batch)
            {
                await Task.Delay(_limits.Delay, _time, cancellationToken).ConfigureAwait(false);
            }

            await ExportAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Exports what waits. A failure is said when it is the first after a success, and nothing more.</summary>
    public async Task ExportAsync(CancellationToken cancellationToken)
    {
        // No more than can have waited: what is said of the export itself must not keep it going.
        for (var left = _limits.Queued; left > 0 && NextBatch() is { Count: > 0 } batch; left -= batch.Count)
        {
            try
            {
                var (rejected, reason) = await _send(batch, cancellationToken).ConfigureAwait(false);
                _sent.Inc(batch.Count - rejected);
                _failed.Inc(rejected);
                Say(rejected > 0 ? $"{rejected} were rejected: {reason}" : null);
            }
            catch (OtlpException exception)
            {
                _failed.Inc(batch.Count);
                Say(exception.Message);
                return; // the rest waits for the next time, or is dropped there
            }
            catch (OperationCanceledException)
            {
                _failed.Inc(batch.Count);
                throw;
            }
        }
    }

    private List<T> NextBatch()
    {
        var batch = new List<T>();
        while (batch.Count < _limits.Batch && _queue.TryRead(out var item))
        {
            batch.Add(item);
        }

        return batch;
    }

    private void Say(string? problem)
    {
        if (problem is not null && !_isFailing)
        {
            BatchExportLog.Failed(_logger, _signal, _address, problem);
        }
        else if (problem is null && _isFailing)
        {
            BatchExportLog.Again(_logger, _signal, _address);
        }

        Volatile.Write(ref _isFailing, problem is not null);
    }
}
