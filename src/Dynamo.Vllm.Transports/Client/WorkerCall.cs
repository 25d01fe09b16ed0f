using System.Buffers;
using System.Net.Sockets;
using System.Runtime.CompilerServices;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Framing;

namespace Dynamo.Vllm.Transports.Client;

/// <summary>The response stream of one call. One reader; cancel from anywhere.</summary>
public sealed class WorkerCall : IAsyncDisposable
{
    /// <summary>Frames of a response have no limit on the wire; a client of ours has one.</summary>
    private const ulong FrameBytesMax = 64 << 20;

    private readonly PayloadCodec _codec;

    // Not on the listener's loop.
    private readonly TaskCompletionSource<NetworkStream> _stream = new(TaskCreationOptions.RunContinuationsAsynchronously);

    private readonly Action _forget;

    /// <param name="codec">Of the items.</param>
    /// <param name="forget">The call is over; a worker that dials home for it now is turned away.</param>
    internal WorkerCall(PayloadCodec codec, Action forget)
    {
        _codec = codec;
        _forget = forget;
    }

    /// <summary>The stream ended with the final item and the sentinel.</summary>
    public bool IsComplete { get; private set; }

    /// <summary>Items as the worker sent them: the object with <c>data</c>, or <c>event</c> and <c>error</c>.</summary>
    /// <exception cref="WorkerCallException">Refused in the prologue, or the stream broke.</exception>
    public async IAsyncEnumerable<JsonObject> ReadAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var stream = await _stream.Task.WaitAsync(cancellationToken).ConfigureAwait(false);
        var (prologue, _) = await ReadOrThrowAsync(stream, cancellationToken).ConfigureAwait(false);
        if (RefusalIn(prologue) is { } error)
        {
            throw new WorkerCallException($"refused: {error}") { IsRefusal = true };
        }

        var isFinal = false;
        while (true)
        {
            var (header, body) = await ReadOrThrowAsync(stream, cancellationToken).ConfigureAwait(false);
            if (header.Length > 0)
            {
                IsComplete = isFinal && Encoding.UTF8.GetString(header) == "\"sentinel\"";
                await stream.DisposeAsync().ConfigureAwait(false); // as callers do: the worker waits for it
                yield break;
            }

            var wrapper = Decode(body);
            isFinal = wrapper["complete_final"] is JsonValue value && value.TryGetValue<bool>(out var said) && said;
            if (wrapper["data"] is JsonObject item)
            {
                wrapper.Remove("data");
                yield return item;
            }
        }
    }

    /// <summary>Sends <c>kill</c> and closes, as a frontend does when its client leaves.</summary>
    /// <exception cref="WorkerCallException">The stream is gone already.</exception>
    public async Task KillAsync(CancellationToken cancellationToken)
    {
        var stream = await _stream.Task.WaitAsync(cancellationToken).ConfigureAwait(false);
        var frame = new ArrayBufferWriter<byte>();
        TwoPartMessage.Write(frame, "\"kill\""u8, default);
        try
        {
            await stream.WriteAsync(frame.WrittenMemory, cancellationToken).ConfigureAwait(false);
            stream.Socket.Shutdown(SocketShutdown.Send);
        }
        catch (Exception exception) when (exception is IOException or SocketException or ObjectDisposedException)
        {
            throw new WorkerCallException($"cannot cancel: {exception.Message}");
        }
    }

    public async ValueTask DisposeAsync()
    {
        _forget();
        if (!_stream.TrySetCanceled() && _stream.Task.IsCompletedSuccessfully)
        {
            await (await _stream.Task.ConfigureAwait(false)).DisposeAsync().ConfigureAwait(false);
        }
    }

    internal void Attach(NetworkStream stream)
    {
        if (!_stream.TrySetResult(stream))
        {
            stream.Dispose(); // nobody waits any more
        }
    }

    /// <summary>What parsers of ours say to bytes that are not what they should be.</summary>
    internal static bool IsGarbled(Exception exception) =>
        exception is JsonException or ProtocolException or InvalidOperationException or FormatException;

    internal static async Task<(byte[] Header, byte[] Body)> ReadFrameAsync(Stream stream, CancellationToken cancellationToken)
    {
        var prefix = new byte[TwoPartMessage.PrefixBytes];
        await stream.ReadExactlyAsync(prefix, cancellationToken).ConfigureAwait(false);
        var (headerBytes, bodyBytes) = TwoPartMessage.ReadLengths(prefix);
        if (headerBytes > FrameBytesMax || bodyBytes > FrameBytesMax)
        {
            throw new IOException($"frame of {headerBytes} + {bodyBytes} bytes is above the limit {FrameBytesMax}");
        }

        var header = new byte[headerBytes];
        var body = new byte[bodyBytes];
        await stream.ReadExactlyAsync(header, cancellationToken).ConfigureAwait(false);
        await stream.ReadExactlyAsync(body, cancellationToken).ConfigureAwait(false);
        return (header, body);
    }

    private static async Task<(byte[] Header, byte[] Body)> ReadOrThrowAsync(Stream stream, CancellationToken cancellationToken)
    {
        try
        {
            return await ReadFrameAsync(stream, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is IOException or SocketException or ObjectDisposedException || IsGarbled(exception))
        {
            throw new WorkerCallException($"stream ended before generation completed: {exception.Message}");
        }
    }

    private static JsonNode? RefusalIn(byte[] prologue)
    {
        try
        {
            return ObjectIn(prologue)["error"];
        }
        catch (Exception exception) when (IsGarbled(exception))
        {
            throw new WorkerCallException($"the prologue cannot be read: {exception.Message}");
        }
    }

    private JsonObject Decode(byte[] body)
    {
        try
        {
            return AsObject(JsonPayload.Parse(body, _codec));
        }
        catch (Exception exception) when (IsGarbled(exception))
        {
            throw new WorkerCallException($"an item cannot be read: {exception.Message}");
        }
    }

    internal static JsonObject ObjectIn(ReadOnlySpan<byte> json) => AsObject(JsonPayload.Parse(json));

    private static JsonObject AsObject(JsonNode? node) => node as JsonObject ?? throw new JsonException("no object");
}
