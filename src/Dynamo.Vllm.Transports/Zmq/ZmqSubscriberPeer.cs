using System.Buffers;
using System.Net.Sockets;
using System.Threading.Channels;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Zmtp;

namespace Dynamo.Vllm.Transports.Zmq;

/// <summary>One subscriber of a publisher, or the broker that a publisher connects to.</summary>
/// <remarks>
/// One loop reads subscriptions, one writes. The queue between publisher and writer is bounded in messages and bytes; what does not fit is
/// counted and lost for this subscriber, which sees the hole in the sequence.
/// </remarks>
internal sealed class ZmqSubscriberPeer
{
    /// <summary>As the reference's SNDHWM (kv-and-load.md, 15).</summary>
    public const int QueuedMessagesMax = 100_000;

    private const long QueuedBytesMax = 256L * 1024 * 1024;

    private const int SubscriptionsMax = 1024;

    /// <summary>Unflushed bytes at which the writer stops gathering.</summary>
    private const int FlushBytes = 64 * 1024;

    private readonly ZmtpConnection _connection;
    private readonly byte[] _topic;
    private readonly Action _dropped;
    private readonly Action _subscribed;
    private readonly List<byte[]> _subscriptions = [];
    private readonly Channel<ZmqOutgoing> _queue = Channel.CreateBounded<ZmqOutgoing>(
        // Full means the subscriber does not read; the message is dropped for it. Wait mode so that TryWrite tells.
        new BoundedChannelOptions(QueuedMessagesMax) { FullMode = BoundedChannelFullMode.Wait, SingleReader = true }
    );

    private long _queuedBytes;
    private volatile bool _wants;

    /// <param name="connection">After the handshake.</param>
    /// <param name="topic">First frame of every message that will be offered.</param>
    /// <param name="dropped">Called for each message that did not fit.</param>
    /// <param name="subscribed">Called when the topic begins to match.</param>
    public ZmqSubscriberPeer(ZmtpConnection connection, byte[] topic, Action dropped, Action subscribed)
    {
        _connection = connection;
        _topic = topic;
        _dropped = dropped;
        _subscribed = subscribed;
    }

    /// <summary>The topic matches a subscription.</summary>
    public bool Wants => _wants;

    public static bool IsSubscriber(byte[] socketType) =>
        socketType.AsSpan().SequenceEqual("SUB"u8) || socketType.AsSpan().SequenceEqual("XSUB"u8);

    public void Offer(ZmqOutgoing message)
    {
        if (Interlocked.Add(ref _queuedBytes, message.Length) > QueuedBytesMax)
        {
            Interlocked.Add(ref _queuedBytes, -message.Length);
            _dropped();
            return;
        }

        message.Hold();
        if (!_queue.Writer.TryWrite(message))
        {
            message.Release();
            Interlocked.Add(ref _queuedBytes, -message.Length);
            _dropped();
        }
    }

    public void Abort() => _connection.Abort();

    /// <summary>Serves until the connection ends. Does not throw for what peers do.</summary>
    /// <returns>Why it ended.</returns>
    public async Task<string> RunAsync(CancellationToken cancellationToken)
    {
        using var ended = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var writing = WriteAsync(ended.Token);
        string problem;
        try
        {
            await ReadAsync(ended.Token).ConfigureAwait(false);
            problem = "the subscriber closed the connection";
        }
        catch (Exception exception) when (ZmqFaults.EndsConnection(exception))
        {
            problem = exception.Message;
        }

        _wants = false;
        _queue.Writer.TryComplete();
        await ended.CancelAsync().ConfigureAwait(false);
        _connection.Abort();
        await writing.ConfigureAwait(false);
        await _connection.DisposeAsync().ConfigureAwait(false);
        return problem;
    }

    private async Task ReadAsync(CancellationToken cancellationToken)
    {
        var message = new ZmtpMessageReader(1, ZmtpConnection.CommandBytesMax);
        while (true)
        {
            var result = await _connection.Input.ReadAsync(cancellationToken).ConfigureAwait(false);
            var buffer = result.Buffer;
            while (message.TryRead(ref buffer))
            {
                Handle(message.Frame(0).Span, message.IsCommand);
            }

            _connection.Input.AdvanceTo(buffer.Start, buffer.End);
            if (result.IsCompleted)
            {
                return;
            }
        }
    }

    private void Handle(ReadOnlySpan<byte> body, bool isCommand)
    {
        if (!isCommand)
        {
            // 3.0: 01 prefix subscribes, 00 prefix cancels; anything else is a message that a publisher has no use for.
            if (body.Length > 0 && body[0] <= 1)
            {
                Subscribe(body[0] == 1, body[1..]);
            }

            return;
        }

        var name = ZmtpCodec.SplitCommand(body, out var data);
        if (name.SequenceEqual("SUBSCRIBE"u8))
        {
            Subscribe(true, data);
        }
        else if (name.SequenceEqual("CANCEL"u8))
        {
            Subscribe(false, data);
        }
        else if (name.SequenceEqual("PING"u8))
        {
            Pong(body);
        }
    }

    /// <summary>Through the queue, so that it does not land inside a message.</summary>
    private void Pong(ReadOnlySpan<byte> ping)
    {
        var answer = new ArrayBufferWriter<byte>(32);
        ZmtpHeartbeat.TryAnswer(ping, answer);
        var message = new ZmqOutgoing(answer.WrittenCount);
        answer.WrittenSpan.CopyTo(message.Span);
        Offer(message);
        message.Release();
    }

    private void Subscribe(bool isOn, ReadOnlySpan<byte> prefix)
    {
        if (isOn)
        {
            if (_subscriptions.Count >= SubscriptionsMax)
            {
                throw new ProtocolException($"the subscriber has more than {SubscriptionsMax} subscriptions");
            }

            _subscriptions.Add(prefix.ToArray());
        }
        else
        {
            for (var i = 0; i < _subscriptions.Count; i++)
            {
                if (prefix.SequenceEqual(_subscriptions[i]))
                {
                    _subscriptions.RemoveAt(i); // one of several equal ones: they are counted
                    break;
                }
            }
        }

        var wanted = _wants;
        _wants = _subscriptions.Exists(subscription => _topic.AsSpan().StartsWith(subscription));
        if (_wants && !wanted)
        {
            _subscribed();
        }
    }

    private async Task WriteAsync(CancellationToken cancellationToken)
    {
        try
        {
            while (await _queue.Reader.WaitToReadAsync(cancellationToken).ConfigureAwait(false))
            {
                while (_queue.Reader.TryRead(out var message))
                {
                    _connection.Output.Write(message.Span);
                    Interlocked.Add(ref _queuedBytes, -message.Length);
                    message.Release();
                    if (_connection.Output.UnflushedBytes >= FlushBytes)
                    {
                        await _connection.Output.FlushAsync(cancellationToken).ConfigureAwait(false);
                    }
                }

                await _connection.Output.FlushAsync(cancellationToken).ConfigureAwait(false);
            }
        }
        catch (Exception exception)
            when (exception is IOException or SocketException or ObjectDisposedException or OperationCanceledException)
        {
            _connection.Abort(); // ends the reader, which tells the owner
        }
        finally
        {
            _queue.Writer.TryComplete();
            while (_queue.Reader.TryRead(out var message))
            {
                message.Release();
            }
        }
    }
}
