using System.Buffers;
using System.Net.Sockets;
using Dynamo.Vllm.Core.KvEvents;
using Dynamo.Vllm.Protocol.Zmtp;

namespace Dynamo.Vllm.Transports.Zmq;

/// <summary>Subscribes to the engine's ZeroMQ publisher.</summary>
/// <remarks>
/// Every topic is subscribed to, whatever topic the engine is configured with, as the reference does. While the sink is busy nothing is
/// read, so the socket's buffers fill, then the engine's own queue, and what that drops shows as a hole in its sequence. kv-and-load.md, 2.
/// </remarks>
public sealed class ZmqEventFeed : IEngineEventFeed
{
    /// <summary>A batch of one engine step is far smaller; a larger frame is a peer that lies.</summary>
    private const int FrameBytesMax = 64 * 1024 * 1024;

    private static readonly TimeSpan PauseMin = TimeSpan.FromMilliseconds(100);

    private static readonly TimeSpan PauseMax = TimeSpan.FromSeconds(2);

    private readonly TimeProvider _time;

    public ZmqEventFeed(TimeProvider time) => _time = time;

    public async Task RunAsync(string endpoint, IEngineEventSink sink, CancellationToken cancellationToken)
    {
        var pause = PauseMin;
        while (!cancellationToken.IsCancellationRequested)
        {
            var wasConnected = false;
            string problem;
            try
            {
                var connection = await ConnectAsync(endpoint, cancellationToken).ConfigureAwait(false);
                await using (connection.ConfigureAwait(false))
                {
                    wasConnected = true;
                    sink.OnConnected();
                    await ReadAsync(connection, sink, cancellationToken).ConfigureAwait(false);
                    problem = "the engine closed the connection";
                }
            }
            catch (Exception exception) when (ZmqFaults.EndsConnection(exception) && !cancellationToken.IsCancellationRequested)
            {
                problem = exception.Message;
            }

            cancellationToken.ThrowIfCancellationRequested();
            sink.OnDisconnected(problem);
            pause = wasConnected ? PauseMin : pause;
            await Task.Delay(pause, _time, cancellationToken).ConfigureAwait(false);
            pause = pause * 2 < PauseMax ? pause * 2 : PauseMax;
        }
    }

    private async Task<ZmtpConnection> ConnectAsync(string endpoint, CancellationToken cancellationToken)
    {
        var socket = await ZmqEndpoint.ConnectAsync(endpoint, cancellationToken).ConfigureAwait(false);
        var connection = await ZmtpConnection
            .OpenAsync(new NetworkStream(socket, ownsSocket: true), "SUB"u8.ToArray(), IsPublisher, _time, cancellationToken)
            .ConfigureAwait(false);
        try
        {
            // A message of 01 and a prefix subscribes; the empty prefix is everything. Peers of 3.1 take this form, too.
            ZmtpCodec.WriteFrameHeader(connection.Output, 0, 1);
            connection.Output.Write([(byte)1]);
            await connection.Output.FlushAsync(cancellationToken).ConfigureAwait(false);
            return connection;
        }
        catch
        {
            await connection.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    private static bool IsPublisher(byte[] socketType) =>
        socketType.AsSpan().SequenceEqual("PUB"u8) || socketType.AsSpan().SequenceEqual("XPUB"u8);

    private static async Task ReadAsync(ZmtpConnection connection, IEngineEventSink sink, CancellationToken cancellationToken)
    {
        var message = new ZmtpMessageReader(EngineMessage.FramesNeeded, FrameBytesMax);
        while (true)
        {
            var result = await connection.Input.ReadAsync(cancellationToken).ConfigureAwait(false);
            var buffer = result.Buffer;
            while (message.TryRead(ref buffer))
            {
                if (message.IsCommand)
                {
                    await AnswerAsync(connection, message.Frame(0), cancellationToken).ConfigureAwait(false);
                }
                else
                {
                    await sink.OnMessageAsync(new EngineMessage(message.FrameCount, message.Frame(1), message.Frame(2)))
                        .ConfigureAwait(false);
                }
            }

            connection.Input.AdvanceTo(buffer.Start, buffer.End);
            if (result.IsCompleted)
            {
                return;
            }
        }
    }

    /// <summary>PING gets its context back in a PONG (RFC 37); other commands mean nothing to a subscriber.</summary>
    private static async ValueTask AnswerAsync(ZmtpConnection connection, ReadOnlyMemory<byte> command, CancellationToken cancellationToken)
    {
        if (ZmtpHeartbeat.TryAnswer(command.Span, connection.Output))
        {
            await connection.Output.FlushAsync(cancellationToken).ConfigureAwait(false);
        }
    }
}
