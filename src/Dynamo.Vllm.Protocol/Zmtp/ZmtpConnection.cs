using System.Buffers;
using System.IO.Pipelines;

namespace Dynamo.Vllm.Protocol.Zmtp;

/// <summary>A connection after the ZMTP handshake. Its reader and its writer have one owner each.</summary>
public sealed class ZmtpConnection : IAsyncDisposable
{
    /// <summary>READY, subscriptions and heartbeats. Peers send nothing larger as a command.</summary>
    public const int CommandBytesMax = 64 * 1024;

    /// <summary>A peer that connects and then says nothing does not keep the slot.</summary>
    private static readonly TimeSpan HandshakeTimeLimit = TimeSpan.FromSeconds(5);

    private readonly Stream _stream;

    private ZmtpConnection(Stream stream)
    {
        _stream = stream;
        Input = PipeReader.Create(stream, new StreamPipeReaderOptions(bufferSize: 64 * 1024, leaveOpen: true));
        Output = PipeWriter.Create(stream, new StreamPipeWriterOptions(minimumBufferSize: 16 * 1024, leaveOpen: true));
    }

    public PipeReader Input { get; }

    public PipeWriter Output { get; }

    /// <summary>Greets and introduces itself; takes ownership of the stream.</summary>
    /// <exception cref="ProtocolException">The peer is none that can be talked to.</exception>
    /// <exception cref="IOException">The connection ended, or the peer took too long.</exception>
    public static async Task<ZmtpConnection> OpenAsync(
        Stream stream,
        byte[] socketType,
        Func<byte[], bool> isPeerType,
        TimeProvider time,
        CancellationToken cancellationToken
    )
    {
        var connection = new ZmtpConnection(stream);
        try
        {
            using var limit = new CancellationTokenSource(HandshakeTimeLimit, time);
            using var linked = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, limit.Token);
            try
            {
                await connection.GreetAsync(socketType, isPeerType, linked.Token);
            }
            catch (OperationCanceledException) when (limit.IsCancellationRequested && !cancellationToken.IsCancellationRequested)
            {
                throw new IOException($"no ZMTP handshake within {HandshakeTimeLimit.TotalSeconds} s");
            }

            return connection;
        }
        catch
        {
            await connection.DisposeAsync();
            throw;
        }
    }

    /// <summary>Writes past <see cref="Output"/>, which must be flushed: for what is too large to be copied once more.</summary>
    public ValueTask WriteThroughAsync(ReadOnlyMemory<byte> data, CancellationToken cancellationToken) =>
        _stream.WriteAsync(data, cancellationToken);

    /// <summary>Ends pending reads and writes.</summary>
    public void Abort() => _stream.Dispose();

    public async ValueTask DisposeAsync()
    {
        await _stream.DisposeAsync();
        await Input.CompleteAsync();
        try
        {
            await Output.CompleteAsync();
        }
        catch (Exception exception) when (exception is IOException or ObjectDisposedException)
        {
            // Best-effort cleanup (style E3): unsent bytes have nowhere to go.
        }
    }

    private async Task GreetAsync(byte[] socketType, Func<byte[], bool> isPeerType, CancellationToken cancellationToken)
    {
        // Greeting and READY at once: the NULL mechanism has nothing to wait for.
        Output.Write(ZmtpCodec.Greeting());
        Output.Write(ZmtpCodec.Ready(socketType));
        await Output.FlushAsync(cancellationToken);
        var greeting = await Input.ReadAtLeastAsync(ZmtpCodec.GreetingBytes, cancellationToken);
        if (greeting.Buffer.Length < ZmtpCodec.GreetingBytes)
        {
            throw new IOException("the peer closed the connection before its greeting");
        }

        var head = greeting.Buffer.Slice(0, ZmtpCodec.GreetingBytes);
        ZmtpCodec.CheckGreeting(head.ToArray());
        Input.AdvanceTo(head.End);
        var ready = await ReadCommandAsync(cancellationToken);
        CheckReady(ready, isPeerType);
    }

    private static void CheckReady(byte[] command, Func<byte[], bool> isPeerType)
    {
        var name = ZmtpCodec.SplitCommand(command, out var data);
        if (name.SequenceEqual("ERROR"u8))
        {
            throw new ProtocolException("the peer refused the ZMTP handshake");
        }

        if (!name.SequenceEqual("READY"u8))
        {
            throw new ProtocolException("the peer's first ZMTP command is not READY");
        }

        var type = ZmtpCodec.SocketType(data).ToArray();
        if (!isPeerType(type))
        {
            throw new ProtocolException($"the peer is a {System.Text.Encoding.ASCII.GetString(type)} socket, which does not fit ours");
        }
    }

    private async Task<byte[]> ReadCommandAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            var result = await Input.ReadAsync(cancellationToken);
            var buffer = result.Buffer;
            if (ZmtpCodec.TryReadFrame(ref buffer, CommandBytesMax, out var flags, out var body))
            {
                if ((flags & ZmtpCodec.Command) == 0)
                {
                    throw new ProtocolException("the peer sent a message before READY");
                }

                var command = body.ToArray();
                Input.AdvanceTo(buffer.Start);
                return command;
            }

            Input.AdvanceTo(buffer.Start, buffer.End);
            if (result.IsCompleted)
            {
                throw new IOException("the peer closed the connection during the handshake");
            }
        }
    }
}
