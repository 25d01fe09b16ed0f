using System.Buffers;
using System.Net.Sockets;
using System.Text.Json;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.Framing;
using Dynamo.Vllm.Protocol.Requests;
using Dynamo.Vllm.Protocol.Responses;

namespace Dynamo.Vllm.Transports.Tcp;

/// <summary>The call-home connection of one request.</summary>
/// <remarks>
/// <code>
/// out: handshake, prologue, item*, final, sentinel       in: nothing but "kill", "stop", end
/// </code>
/// Handshake and prologue leave in one write, so do the last item, the final and the sentinel. One writer; the watcher reads beside it.
/// request-plane.md, 2-3. Golden files: captures/runtime/tcp_response.bin, tcp_cancel_frontend_to_worker.bin.
/// </remarks>
internal sealed class TcpCallHome : ICallHome
{
    /// <summary>After the sentinel the caller closes; one that does not is left after this, as the reference does.</summary>
    private static readonly TimeSpan CloseTimeLimit = TimeSpan.FromSeconds(10);

    private readonly Stream _stream;
    private readonly PayloadCodec _codec;
    private readonly TimeProvider _time;
    private readonly FrameBuffer _frames = new();
    private readonly CancellationTokenSource _closing = new();
    private Action? _itemSent;
    private Task _watching = Task.CompletedTask;
    private volatile bool _isComplete;
    private bool _finishItemWaits;

    public TcpCallHome(Stream stream, RequestEnvelope envelope, TimeProvider time)
    {
        _stream = stream;
        _codec = envelope.Codec;
        _time = time;
        _frames.WriteHeaderFrame(Handshake(envelope.ResponseSubject));
    }

    public long BodyBytes { get; private set; }

    public Action? ItemSent
    {
        set => _itemSent = value;
    }

    public void Watch(RequestContext context) => _watching = WatchAsync(context);

    public ValueTask AcceptAsync()
    {
        _frames.WriteHeaderFrame("{\"error\":null}"u8);
        return FlushAsync();
    }

    public async ValueTask RefuseAsync(DynamoError error)
    {
        _frames.WriteHeaderFrame(ResponseEncoder.EncodeRefusal(error));
        await FlushAsync().ConfigureAwait(false);
        _isComplete = true;
        await WaitForCloseAsync().ConfigureAwait(false);
    }

    public ValueTask WriteAsync(TokenDelta delta)
    {
        try
        {
            ResponseEncoder.WriteDelta(_frames.BeginBody(_codec), delta);
            BodyBytes += _frames.EndBody(_codec);
        }
        catch
        {
            _frames.RollBack(); // the error item that follows must start on a frame
            throw;
        }

        if (delta.FinishReason is not { } finish)
        {
            return SendItemAsync();
        }

        // The end follows at once and leaves in the same write.
        _finishItemWaits = !finish.StartsWith("error", StringComparison.Ordinal);
        return ValueTask.CompletedTask;
    }

    public ValueTask WriteAsync(ReadOnlyMemory<byte> json)
    {
        try
        {
            ResponseEncoder.WriteValue(_frames.BeginBody(_codec), json.Span);
            BodyBytes += _frames.EndBody(_codec);
        }
        catch
        {
            _frames.RollBack();
            throw;
        }

        return SendItemAsync();
    }

    public ValueTask WriteBareAsync(ReadOnlyMemory<byte> messagePack)
    {
        ResponseEncoder.WriteBareValue(_frames.BeginBody(_codec), messagePack.Span);
        BodyBytes += _frames.EndBody(_codec);
        return SendItemAsync();
    }

    public ValueTask WriteErrorAsync(DynamoError error)
    {
        ResponseEncoder.WriteError(_frames.BeginBody(_codec), error);
        BodyBytes += _frames.EndBody(_codec);
        return ValueTask.CompletedTask; // the end follows
    }

    public async ValueTask CompleteAsync()
    {
        ResponseEncoder.WriteFinal(_frames.BeginBody(_codec));
        BodyBytes += _frames.EndBody(_codec);
        _frames.WriteHeaderFrame("\"sentinel\""u8);
        _isComplete = true; // from here the caller's end is the normal close
        await FlushAsync().ConfigureAwait(false);
        if (_finishItemWaits)
        {
            _itemSent?.Invoke();
        }

        await WaitForCloseAsync().ConfigureAwait(false);
    }

    public async ValueTask DisposeAsync()
    {
        _isComplete = true;
        await _closing.CancelAsync().ConfigureAwait(false);
        await _stream.DisposeAsync().ConfigureAwait(false);
        await _watching.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _frames.Dispose();
        _closing.Dispose();
    }

    private static byte[] Handshake(string subject)
    {
        var buffer = new ArrayBufferWriter<byte>(96);
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            json.WriteString("subject"u8, subject);
            json.WriteString("stream_type"u8, "response"u8);
            json.WriteEndObject();
        }

        return buffer.WrittenSpan.ToArray();
    }

    private ValueTask SendItemAsync()
    {
        var write = FlushAsync();
        if (write.IsCompletedSuccessfully)
        {
            _itemSent?.Invoke();
            return ValueTask.CompletedTask;
        }

        return NotifyAfterAsync(write);
    }

    private async ValueTask NotifyAfterAsync(ValueTask write)
    {
        await write.ConfigureAwait(false);
        _itemSent?.Invoke();
    }

    private ValueTask FlushAsync()
    {
        var write = _stream.WriteAsync(_frames.Written);
        if (write.IsCompletedSuccessfully)
        {
            _frames.Clear();
            return ValueTask.CompletedTask;
        }

        return ClearAfterAsync(write);
    }

    private async ValueTask ClearAfterAsync(ValueTask write)
    {
        await write.ConfigureAwait(false);
        _frames.Clear();
    }

    private async Task WaitForCloseAsync()
    {
        try
        {
            await _watching.WaitAsync(CloseTimeLimit, _time).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            // All was sent; a caller that keeps the socket open does not keep us.
        }
    }

    private async Task WatchAsync(RequestContext context)
    {
        var prefix = new byte[TwoPartMessage.PrefixBytes];
        try
        {
            while (await _stream.ReadAtLeastAsync(prefix, prefix.Length, throwOnEndOfStream: false, _closing.Token).ConfigureAwait(false) == prefix.Length)
            {
                var cause = await ReadControlAsync(prefix).ConfigureAwait(false);
                if (!_isComplete)
                {
                    context.Cancel(cause); // one that crosses the sentinel cancels nothing
                }
            }

            CancelUnlessComplete(context);
        }
        catch (Exception exception) when (exception is IOException or SocketException or ObjectDisposedException or OperationCanceledException)
        {
            CancelUnlessComplete(context);
        }
    }

    private void CancelUnlessComplete(RequestContext context)
    {
        if (!_isComplete)
        {
            context.Cancel(CancellationCause.Disconnect);
        }
    }

    /// <summary>"stop" is a stop; "kill", and anything else, is a kill (request-plane.md, 2).</summary>
    private async Task<CancellationCause> ReadControlAsync(byte[] prefix)
    {
        var (headerBytes, bodyBytes) = TwoPartMessage.ReadLengths(prefix);
        if (headerBytes + bodyBytes > Limits.CallHomeControlBytesMax || headerBytes > Limits.CallHomeControlBytesMax)
        {
            throw new IOException($"control frame of {headerBytes} + {bodyBytes} bytes is above the limit {Limits.CallHomeControlBytesMax}");
        }

        var frame = new byte[(int)(headerBytes + bodyBytes)];
        await _stream.ReadExactlyAsync(frame, _closing.Token).ConfigureAwait(false);
        return frame.AsSpan().SequenceEqual("\"stop\""u8) ? CancellationCause.Stop : CancellationCause.Kill;
    }
}
