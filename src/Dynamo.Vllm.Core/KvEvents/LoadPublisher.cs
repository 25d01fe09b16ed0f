using System.Buffers;
using System.Threading.Channels;
using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Protocol.KvEvents;

namespace Dynamo.Vllm.Core.KvEvents;

/// <summary>Tells routers how many blocks a rank uses: 0 at the start, then each change.</summary>
/// <remarks>
/// The engine's callback only leaves the newest value. One loop waits for a change, gathers for a moment, and sends what is newest then.
/// </remarks>
internal sealed class LoadPublisher : IAsyncDisposable
{
    private readonly int _rank;
    private readonly long _blocks;
    private readonly WorkerRegistration _registration;
    private readonly EventStream _stream;
    private readonly TimeProvider _time;
    private readonly ArrayBufferWriter<byte> _payload = new(128);

    // Full means the loop has been told already; it reads the newest value when it comes to it.
    private readonly Channel<bool> _changed = Channel.CreateBounded<bool>(
        new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite, SingleReader = true }
    );

    private long _used;

    public LoadPublisher(int rank, long blocks, WorkerRegistration registration, EventStream stream, TimeProvider time)
    {
        _rank = rank;
        _blocks = blocks;
        _registration = registration;
        _stream = stream;
        _time = time;
    }

    public EventStream Stream => _stream;

    /// <summary>Any thread; does not block.</summary>
    public void Observe(double usage)
    {
        var used = double.IsFinite(usage) ? Math.Max(0, (long)(_blocks * usage)) : 0;
        if (Interlocked.Exchange(ref _used, used) != used)
        {
            _changed.Writer.TryWrite(true);
        }
    }

    public async Task RunAsync(CancellationToken cancellationToken)
    {
        // Nothing yet, so the first value goes out whatever it is; so does the first one after a new identity.
        var sent = (Worker: default(InstanceId), Used: -1L);
        do
        {
            var load = (Worker: _registration.Instance, Used: Interlocked.Read(ref _used));
            if (load != sent)
            {
                sent = load;
                _payload.ResetWrittenCount();
                ActiveLoadEncoder.Write(_payload, load.Worker.Value, (uint)_rank, load.Used);
                await _stream.PublishAsync(_payload.WrittenMemory, cancellationToken);
            }

            await _changed.Reader.ReadAsync(cancellationToken);
            await Task.Delay(KvRelayLimits.GatherTime, _time, cancellationToken);
        } while (true);
    }

    public ValueTask DisposeAsync() => _stream.DisposeAsync();
}
