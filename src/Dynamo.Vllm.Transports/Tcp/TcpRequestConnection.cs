using System.Buffers;
using System.IO.Pipelines;
using System.Net.Sockets;
using System.Security.Authentication;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Framing;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Transports.Tcp;

/// <summary>One connection of a caller: frames in, one acknowledgement each, in order (request-plane.md, 1).</summary>
/// <remarks>The loop only copies a frame and hands it on, so that an acknowledgement never waits for work.</remarks>
internal sealed partial class TcpRequestConnection
{
    private readonly Socket _socket;
    private readonly IConnectionSecurity _security;
    private readonly RequestDispatcher _dispatcher;
    private readonly int _frameBytesMax;
    private readonly ILogger _logger;

    public TcpRequestConnection(
        Socket socket,
        IConnectionSecurity security,
        RequestDispatcher dispatcher,
        int frameBytesMax,
        ILogger logger
    )
    {
        _socket = socket;
        _security = security;
        _dispatcher = dispatcher;
        _frameBytesMax = frameBytesMax;
        _logger = logger;
    }

    public void Abort() => _socket.Dispose();

    public async Task RunAsync(ConnectionCap.Seat seat, CancellationToken cancellationToken)
    {
        try
        {
            var stream = await _security.SecureAcceptedAsync(_socket, cancellationToken).ConfigureAwait(false);
            await using (stream.ConfigureAwait(false))
            {
                var input = PipeReader.Create(stream, new StreamPipeReaderOptions(bufferSize: 64 * 1024, leaveOpen: true));
                var output = PipeWriter.Create(stream, new StreamPipeWriterOptions(leaveOpen: true));
                await ReadAsync(input, output, seat, cancellationToken).ConfigureAwait(false);
                await input.CompleteAsync().ConfigureAwait(false);
                await output.CompleteAsync().ConfigureAwait(false);
            }
        }
        catch (Exception exception)
            when (exception
                    is IOException
                        or SocketException
                        or ObjectDisposedException
                        or OperationCanceledException
                        or AuthenticationException
            )
        {
            LogClosed(_logger, exception.Message); // callers come and go
        }
        finally
        {
            _socket.Dispose();
        }
    }

    private async Task ReadAsync(PipeReader input, PipeWriter output, ConnectionCap.Seat seat, CancellationToken cancellationToken)
    {
        while (true)
        {
            var result = await input.ReadAsync(cancellationToken).ConfigureAwait(false);
            var buffer = result.Buffer;
            seat.Touch();
            var isOpen = Process(ref buffer, output);
            input.AdvanceTo(buffer.Start, buffer.End);
            await output.FlushAsync(cancellationToken).ConfigureAwait(false);
            if (!isOpen || result.IsCompleted)
            {
                return;
            }
        }
    }

    /// <summary>Handles every complete frame; false closes the connection after its answer.</summary>
    private bool Process(ref ReadOnlySequence<byte> buffer, PipeWriter output)
    {
        while (RequestFrame.TryReadLength(buffer, out var frameBytes))
        {
            if (frameBytes > _frameBytesMax)
            {
                // Before anything of its size is allocated. The rest of it cannot be skipped cheaply, so the connection goes.
                LogFrameTooLarge(_logger, frameBytes, _frameBytesMax);
                RequestAck.Write(output, RequestAck.FrameTooLarge(frameBytes, _frameBytesMax));
                return false;
            }

            if (buffer.Length < frameBytes)
            {
                break;
            }

            RequestAck.Write(output, Accept(buffer.Slice(0, frameBytes), (int)frameBytes));
            buffer = buffer.Slice(frameBytes);
        }

        return true;
    }

    private string? Accept(in ReadOnlySequence<byte> frame, int frameBytes)
    {
        var rented = ArrayPool<byte>.Shared.Rent(frameBytes);
        frame.CopyTo(rented);
        RequestFrame.Split(rented.AsMemory(0, frameBytes), out var path, out var headers, out var payload);
        if (path is null)
        {
            ArrayPool<byte>.Shared.Return(rented, clearArray: true);
            return RequestAck.InvalidPath;
        }

        // The dispatcher owns the buffer until it calls back, once; it held a prompt, so it is cleared.
        return _dispatcher.Accept(path, headers, payload, () => ArrayPool<byte>.Shared.Return(rented, clearArray: true));
    }

    [LoggerMessage(EventId = 3003, Level = LogLevel.Debug, Message = "Request connection closed: {Problem}")]
    private static partial void LogClosed(ILogger logger, string problem);

    [LoggerMessage(
        EventId = 3004,
        Level = LogLevel.Warning,
        Message = "Refused a request frame of {FrameBytes} bytes; the limit is {FrameBytesMax} (DYN_TCP_MAX_MESSAGE_SIZE)"
    )]
    private static partial void LogFrameTooLarge(ILogger logger, long frameBytes, int frameBytesMax);
}
