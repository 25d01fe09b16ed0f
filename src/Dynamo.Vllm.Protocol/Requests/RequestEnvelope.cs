using System.Text.Json;

namespace Dynamo.Vllm.Protocol.Requests;

/// <summary>The control header of a request: who asks, where the answer goes, in which codec (request-plane.md, 1.4).</summary>
/// <param name="Id">Request id; unique per client request but repeated on a migrated attempt.</param>
/// <param name="Codec">Codec of the body and of every response body.</param>
/// <param name="ResponseAddress">Where to dial home: <c>host:port</c>, IPv6 in brackets.</param>
/// <param name="ResponseSubject">Names the stream in the handshake.</param>
/// <param name="Transport">How to dial home; only <c>tcp_server</c> can be served.</param>
/// <param name="IsStreamingInput">The caller wants to stream its input, which no endpoint of this worker takes.</param>
public sealed record RequestEnvelope(
    string Id, PayloadCodec Codec, string ResponseAddress, string ResponseSubject, string Transport, bool IsStreamingInput)
{
    public const string TcpTransport = "tcp_server";

    /// <summary>Reads the header. Unknown fields are ignored.</summary>
    /// <remarks>
    /// The connection information is needed even to refuse the request, so what is wrong with the rest is reported
    /// by <paramref name="problem"/> while the envelope is still returned.
    /// </remarks>
    public static RequestEnvelope Parse(ReadOnlyMemory<byte> header, out string? problem)
    {
        try
        {
            using var document = JsonDocument.Parse(header);
            var root = document.RootElement;
            var connection = root.GetProperty("connection_info");
            var transport = connection.GetProperty("transport").GetString() ?? "";
            using var info = JsonDocument.Parse(connection.GetProperty("info").GetString() ?? "");
            var id = root.GetProperty("id").GetString() ?? "";
            problem = FindProblem(root, info.RootElement, id);
            return new RequestEnvelope(
                id, ReadCodec(root, ref problem), info.RootElement.GetProperty("address").GetString() ?? "",
                info.RootElement.GetProperty("subject").GetString() ?? "", transport,
                root.TryGetProperty("request_type", out var type) && type.GetString() == "many_in");
        }
        catch (Exception exception) when (exception is JsonException or KeyNotFoundException or InvalidOperationException or ArgumentException)
        {
            throw new ProtocolException($"control header is not readable: {exception.Message}", exception);
        }
    }

    private static PayloadCodec ReadCodec(JsonElement root, ref string? problem)
    {
        if (!root.TryGetProperty("payload_codec", out var codec) || codec.ValueKind == JsonValueKind.Null)
        {
            return PayloadCodec.Json;
        }

        switch (codec.GetString())
        {
            case "msgpack":
                return PayloadCodec.MessagePack;
            case "json":
                return PayloadCodec.Json;
            default:
                problem ??= $"payload_codec '{codec.GetString()}' is not one of json, msgpack";
                return PayloadCodec.Json;
        }
    }

    private static string? FindProblem(JsonElement root, JsonElement info, string id)
    {
        if (id.Length == 0)
        {
            return "id is empty";
        }

        var context = info.TryGetProperty("context", out var value) ? value.GetString() : null;
        if (context != id)
        {
            return "connection_info.info.context differs from id";
        }

        var streamType = info.TryGetProperty("stream_type", out var type) ? type.GetString() : null;
        return streamType == "response" ? null : $"connection_info.info.stream_type '{streamType}' is not 'response'";
    }
}
