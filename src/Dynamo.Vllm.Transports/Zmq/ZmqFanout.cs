using System.Buffers.Binary;
using System.Net.Sockets;
using Dynamo.Vllm.Core.KvEvents;
using Dynamo.Vllm.Protocol.KvEvents;
using Dynamo.Vllm.Protocol.Zmtp;

namespace Dynamo.Vllm.Transports.Zmq;

/// <summary>Encodes a message once and offers it to each subscriber. Peers come and go on other threads.</summary>
/// <remarks>
/// <code>message = topic or subject, publisher id u64be, sequence u64be, (01, length u32be, envelope)</code>
/// kv-and-load.md, 5.3 and 5.4. Golden files: tests/golden/kv/eventplane-zmq-broker.json, zmq-direct-*.bin.
/// </remarks>
internal sealed class ZmqFanout
{
    private const int IdBytes = sizeof(ulong);

    private readonly Lock _lock = new();
    private readonly ulong _publisherId;
    private ZmqSubscriberPeer[] _peers = [];
    private long _dropped;

    public ZmqFanout(byte[] topic, PublisherId publisher)
    {
        Topic = topic;
        _publisherId = publisher.Value;
    }

    public byte[] Topic { get; }

    public long Dropped => Interlocked.Read(ref _dropped);

    public int Count => _peers.Length;

    /// <summary>A subscriber now wants the topic. On that subscriber's loop.</summary>
    public event Action? Subscribed;

    /// <summary>Shakes hands and serves until the connection ends.</summary>
    /// <param name="socket">Owned from here on.</param>
    /// <param name="opened">Called after the handshake.</param>
    /// <param name="time">For the limit of the handshake.</param>
    /// <param name="cancellationToken">Ends the connection.</param>
    /// <returns>Why it ended.</returns>
    /// <exception cref="Exception">The handshake failed; see <see cref="ZmqFaults"/>.</exception>
    public async Task<string> ServeAsync(Socket socket, Action? opened, TimeProvider time, CancellationToken cancellationToken)
    {
        var connection = await ZmtpConnection
            .OpenAsync(
                new NetworkStream(socket, ownsSocket: true),
                "PUB"u8.ToArray(),
                ZmqSubscriberPeer.IsSubscriber,
                time,
                cancellationToken
            )
            .ConfigureAwait(false);
        opened?.Invoke();
        var peer = new ZmqSubscriberPeer(connection, Topic, () => Interlocked.Increment(ref _dropped), () => Subscribed?.Invoke());
        lock (_lock)
        {
            _peers = [.. _peers, peer];
        }

        try
        {
            return await peer.RunAsync(cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            lock (_lock)
            {
                _peers = [.. _peers.Where(other => other != peer)];
            }
        }
    }

    public void AbortAll()
    {
        foreach (var peer in Volatile.Read(ref _peers))
        {
            peer.Abort();
        }
    }

    public void Publish(in EventMessage message)
    {
        ZmqOutgoing? encoded = null;
        foreach (var peer in Volatile.Read(ref _peers))
        {
            if (peer.Wants)
            {
                peer.Offer(encoded ??= Encode(in message));
            }
        }

        encoded?.Release();
    }

    private ZmqOutgoing Encode(in EventMessage message)
    {
        var frameBytes = EventEnvelope.FrameHeaderBytes + message.Envelope.Length;
        Span<byte> header = stackalloc byte[ZmtpCodec.FrameHeaderBytesMax];
        var topicHeader = ZmtpCodec.WriteFrameHeader(header, ZmtpCodec.More, Topic.Length);
        var lastHeader = ZmtpCodec.WriteFrameHeader(header, 0, frameBytes);
        var outgoing = new ZmqOutgoing(topicHeader + Topic.Length + (2 * (2 + IdBytes)) + lastHeader + frameBytes);
        var span = outgoing.Span;
        span = span[ZmtpCodec.WriteFrameHeader(span, ZmtpCodec.More, Topic.Length)..];
        Topic.CopyTo(span);
        span = span[Topic.Length..];
        span = WriteId(span, _publisherId);
        span = WriteId(span, message.Sequence);
        span = span[ZmtpCodec.WriteFrameHeader(span, 0, frameBytes)..];
        EventEnvelope.WriteFrameHeader(span, message.Envelope.Length);
        message.Envelope.Span.CopyTo(span[EventEnvelope.FrameHeaderBytes..]);
        return outgoing;
    }

    private static Span<byte> WriteId(Span<byte> span, ulong id)
    {
        span = span[ZmtpCodec.WriteFrameHeader(span, ZmtpCodec.More, IdBytes)..];
        BinaryPrimitives.WriteUInt64BigEndian(span, id);
        return span[IdBytes..];
    }
}
