using System.Buffers;
using System.Net;
using System.Text.Json;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Framing;
using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.Transports.Client;

/// <summary>A small caller of workers over either request plane: for <c>call</c>, <c>demo</c>, load runs and tests.</summary>
/// <remarks>One way for requests and one call-home listener on the same host as itself. Requests may run side by side.</remarks>
public sealed class WorkerClient : IAsyncDisposable
{
    private readonly IRequestSender _sender;
    private readonly CallHomeListener _listener;
    private readonly string _answerAddress;
    private readonly PayloadCodec _codec;

    private WorkerClient(IRequestSender sender, CallHomeListener listener, PayloadCodec codec, Func<int, int>? answerPort)
    {
        _sender = sender;
        _listener = listener;
        _codec = codec;
        var port = listener.Endpoint.Port;
        _answerAddress = new IPEndPoint(listener.Endpoint.Address, answerPort?.Invoke(port) ?? port).ToString();
    }

    /// <param name="address">The <c>tcp</c> transport of an instance record: <c>ip:port/path</c>.</param>
    /// <param name="codec">Codec to send and to ask for.</param>
    /// <param name="cancellationToken">Gives up connecting.</param>
    /// <param name="answerPort">From the port that answers are taken on to the one that workers are told, for a proxy in between.</param>
    public static async Task<WorkerClient> ConnectAsync(
        string address,
        PayloadCodec codec,
        CancellationToken cancellationToken,
        Func<int, int>? answerPort = null
    )
    {
        var sender = await TcpRequestSender.ConnectAsync(address, cancellationToken).ConfigureAwait(false);
        // The worker dials back to the address by which we reached it.
        return new WorkerClient(sender, new CallHomeListener(sender.LocalAddress), codec, answerPort);
    }

    /// <param name="server">URL of the NATS server, without a login beyond the default one.</param>
    /// <param name="subject">The <c>nats_tcp</c> transport of an instance record.</param>
    /// <param name="codec">Codec to send and to ask for.</param>
    /// <param name="cancellationToken">Gives up connecting.</param>
    /// <param name="answerPort">As above.</param>
    /// <remarks>Only for workers on this host: answers are taken on loopback.</remarks>
    public static async Task<WorkerClient> ConnectNatsAsync(
        string server,
        string subject,
        PayloadCodec codec,
        CancellationToken cancellationToken,
        Func<int, int>? answerPort = null
    )
    {
        var sender = await NatsRequestSender.ConnectAsync(server, subject, cancellationToken).ConfigureAwait(false);
        return new WorkerClient(sender, new CallHomeListener(IPAddress.Loopback), codec, answerPort);
    }

    /// <summary>Sends a request and returns its response stream once the worker has accepted it.</summary>
    /// <exception cref="WorkerCallException">The worker refused it, or nobody answered.</exception>
    public async Task<WorkerCall> CallAsync(ReadOnlyMemory<byte> bodyJson, CancellationToken cancellationToken, string? requestId = null)
    {
        requestId ??= Guid.NewGuid().ToString();
        var subject = Guid.NewGuid().ToString();
        var call = _listener.Expect(subject, _codec);
        try
        {
            var payload = Encode(requestId, subject, bodyJson.Span);
            var refusal = await _sender.SendAsync(requestId, payload, cancellationToken).ConfigureAwait(false);
            return refusal.Length == 0 ? call : throw new WorkerCallException(refusal) { IsRefusal = true };
        }
        catch
        {
            await call.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _sender.DisposeAsync().ConfigureAwait(false);
        await _listener.DisposeAsync().ConfigureAwait(false);
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
            json.WriteString(
                "info",
                $$"""{"address":"{{_answerAddress}}","subject":"{{subject}}","context":"{{requestId}}","stream_type":"response"}"""
            );
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
        return payload.WrittenMemory;
    }
}
