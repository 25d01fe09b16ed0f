using System.Buffers;
using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Framing;
using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.Transports.Client;

/// <summary>A small caller of workers over the TCP request plane: for <c>call</c>, <c>demo</c>, load runs and tests.</summary>
/// <remarks>One request connection and one call-home listener on the same host as itself. Requests may run side by side.</remarks>
public sealed class WorkerClient : IAsyncDisposable
{
    private readonly Socket _requests;
    private readonly NetworkStream _stream;
    private readonly CallHomeListener _listener;
    private readonly string _path;
    private readonly PayloadCodec _codec;
    private readonly SemaphoreSlim _turn = new(1, 1);

    private WorkerClient(Socket requests, CallHomeListener listener, string path, PayloadCodec codec)
    {
        _requests = requests;
        _stream = new NetworkStream(requests, ownsSocket: true);
        _listener = listener;
        _path = path;
        _codec = codec;
    }

    /// <param name="address">The <c>tcp</c> transport of an instance record: <c>ip:port/path</c>.</param>
    /// <param name="codec">Codec to send and to ask for.</param>
    /// <param name="cancellationToken">Gives up connecting.</param>
    public static async Task<WorkerClient> ConnectAsync(string address, PayloadCodec codec, CancellationToken cancellationToken)
    {
        var slash = address.IndexOf('/', StringComparison.Ordinal);
        var endpoint = IPEndPoint.Parse(address[..slash]);
        var socket = new Socket(endpoint.AddressFamily, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        try
        {
            await socket.ConnectAsync(endpoint, cancellationToken).ConfigureAwait(false);
            // The worker dials back to the address by which we reached it.
            return new WorkerClient(socket, new CallHomeListener(((IPEndPoint)socket.LocalEndPoint!).Address), address[(slash + 1)..], codec);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    /// <summary>Sends a request and returns its response stream once the worker has accepted it.</summary>
    /// <exception cref="WorkerCallException">The worker refused it.</exception>
    public async Task<WorkerCall> CallAsync(ReadOnlyMemory<byte> bodyJson, CancellationToken cancellationToken, string? requestId = null)
    {
        requestId ??= Guid.NewGuid().ToString();
        var subject = Guid.NewGuid().ToString();
        var call = _listener.Expect(subject, _codec);
        var frame = Encode(requestId, subject, bodyJson.Span);
        await _turn.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            await _stream.WriteAsync(frame, cancellationToken).ConfigureAwait(false);
            if (await ReadAckAsync(cancellationToken).ConfigureAwait(false) is { Length: > 0 } refusal)
            {
                _listener.Forget(subject);
                throw new WorkerCallException(refusal);
            }
        }
        finally
        {
            _turn.Release();
        }

        return call;
    }

    public async ValueTask DisposeAsync()
    {
        await _stream.DisposeAsync().ConfigureAwait(false);
        _requests.Dispose();
        await _listener.DisposeAsync().ConfigureAwait(false);
        _turn.Dispose();
    }

    private async Task<string> ReadAckAsync(CancellationToken cancellationToken)
    {
        var length = new byte[4];
        await _stream.ReadExactlyAsync(length, cancellationToken).ConfigureAwait(false);
        var text = new byte[Math.Min(System.Buffers.Binary.BinaryPrimitives.ReadUInt32BigEndian(length), 64 * 1024)];
        await _stream.ReadExactlyAsync(text, cancellationToken).ConfigureAwait(false);
        return System.Text.Encoding.UTF8.GetString(text);
    }

    private ReadOnlyMemory<byte> Encode(string requestId, string subject, ReadOnlySpan<byte> bodyJson)
    {
        var header = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(header))
        {
            json.WriteStartObject();
            json.WriteString("id", requestId);
            json.WriteString("request_type", "single_in");
            json.WriteString("response_type", "many_out");
            json.WriteString("payload_codec", _codec == PayloadCodec.MessagePack ? "msgpack" : "json");
            json.WriteStartObject("connection_info");
            json.WriteString("transport", "tcp_server");
            json.WriteString("info", $$"""{"address":"{{_listener.Address}}","subject":"{{subject}}","context":"{{requestId}}","stream_type":"response"}""");
            json.WriteEndObject();
            json.WriteEndObject();
        }

        var body = new ArrayBufferWriter<byte>();
        if (_codec == PayloadCodec.MessagePack)
        {
            MessagePackJson.WriteMessagePack(bodyJson, body);
        }
        else
        {
            body.Write(bodyJson);
        }

        var payload = new ArrayBufferWriter<byte>();
        TwoPartMessage.Write(payload, header.WrittenSpan, body.WrittenSpan);
        var frame = new ArrayBufferWriter<byte>();
        RequestFrame.Write(frame, _path, JsonSerializer.SerializeToUtf8Bytes(new Dictionary<string, string> { ["request-id"] = requestId }, ClientJsonContext.Default.DictionaryStringString), payload.WrittenSpan);
        return frame.WrittenMemory;
    }
}
