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
/// request-plane.md, 2-3. Golden files: tests/golden/runtime/tcp_response.bin, tcp_cancel_frontend_to_worker.bin.
/// </remarks>
internal sealed class TcpCallHome : ICallHome
{
    /// <summary>After the sentinel the caller closes; one that does not is left after this, as the reference does.</summary>
    private static readonly TimeSpan CloseTimeLimit = TimeSpan.FromSeconds(10);

    private readonly CallHomeConnection _connection;
    private readonly PayloadCodec _codec;
    private readonly TimeProvider _time;
    private readonly FrameBuffer _frames = new();
    private Action? _itemSent;
    private Task _watching = Task.CompletedTask;
    private volatile bool _isComplete;
    private bool _finishItemWaits;

    public TcpCallHome(CallHomeConnection connection, RequestEnvelope envelope, TimeProvider time)
    {
        _connection = connection;
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
        _isComplete = true; // from here the caller's end is the normal close
        await FlushAsync().ConfigureAwait(false);
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

        if (delta.FinishReason is null)
        {
            return SendItemAsync();
        }

        // The end follows at once and leaves in the same write.
        _finishItemWaits = !delta.IsError;
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
        _isComplete = true;
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
        await _connection.CloseAsync().ConfigureAwait(false);
        await _watching.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await _connection.DisposeAsync().ConfigureAwait(false);
        _frames.Dispose();
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
        var write = _connection.SendAsync(_frames.Written);
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
        await _connection.ListenAsync(CancelUnlessComplete, () => _isComplete).ConfigureAwait(false);
        CancelUnlessComplete(CancellationCause.Disconnect);

        // One that crosses the sentinel cancels nothing.
        void CancelUnlessComplete(CancellationCause cause)
        {
            if (!_isComplete)
            {
                context.Cancel(cause);
            }
        }
    }
}
