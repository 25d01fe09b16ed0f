using System.Buffers;
using System.Threading.Channels;
using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Core.Generate;
using Dynamo.Vllm.Protocol.KvEvents;

namespace Dynamo.Vllm.Core.KvEvents;

/// <summary>Tells routers that requests have their first token. Best effort: what does not fit is counted and lost.</summary>
internal sealed class FirstTokenPublisher : IFirstTokenSink
{
    // Full means the event plane is slower than requests start. A router learns the same from the first item, so the event is dropped.
    private readonly Channel<FirstToken> _queue = Channel.CreateBounded<FirstToken>(
        new BoundedChannelOptions(KvRelayLimits.FirstTokensQueuedMax) { FullMode = BoundedChannelFullMode.Wait, SingleReader = true }
    );

    private readonly WorkerRegistration _registration;
    private readonly KvRelayMetrics _metrics;
    private readonly TimeProvider _time;
    private readonly ArrayBufferWriter<byte> _payload = new(1024);
    private readonly FirstToken[] _gathered = new FirstToken[KvRelayLimits.FirstTokensPerMessageMax];

    public FirstTokenPublisher(WorkerRegistration registration, KvRelayMetrics metrics, TimeProvider time)
    {
        _registration = registration;
        _metrics = metrics;
        _time = time;
    }

    public void NotifyFirstToken(string requestId, int dataParallelRank)
    {
        // Wait mode only so that TryWrite tells a full queue; nobody waits.
        if (!_queue.Writer.TryWrite(new FirstToken(requestId, (uint)dataParallelRank)))
        {
            _metrics.FirstTokenLost();
        }
    }

    /// <param name="stream">Where the events go.</param>
    /// <param name="batches">False: each event is a message of its own.</param>
    /// <param name="cancellationToken">The only way to end it.</param>
    public async Task RunAsync(EventStream stream, bool batches, CancellationToken cancellationToken)
    {
        while (await _queue.Reader.WaitToReadAsync(cancellationToken))
        {
            if (batches && _queue.Reader.Count < _gathered.Length)
            {
                await Task.Delay(KvRelayLimits.GatherTime, _time, cancellationToken);
            }

            var count = 0;
            while (count < _gathered.Length && _queue.Reader.TryRead(out var item))
            {
                _gathered[count++] = item;
            }

            await PublishAsync(stream, batches, count, cancellationToken);
        }
    }

    private async Task PublishAsync(EventStream stream, bool batches, int count, CancellationToken cancellationToken)
    {
        var worker = _registration.Instance.Value;
        _payload.ResetWrittenCount();
        if (batches)
        {
            SequenceEventEncoder.WriteBatchHeader(_payload, count);
        }

        for (var i = 0; i < count; i++)
        {
            SequenceEventEncoder.WriteEvent(_payload, _gathered[i].RequestId, worker, _gathered[i].Rank);
            if (!batches)
            {
                await stream.PublishAsync(_payload.WrittenMemory, cancellationToken);
                _payload.ResetWrittenCount();
            }
        }

        if (batches)
        {
            await stream.PublishAsync(_payload.WrittenMemory, cancellationToken);
        }

        Array.Clear(_gathered, 0, count);
    }

    private readonly record struct FirstToken(string RequestId, uint Rank);
}
