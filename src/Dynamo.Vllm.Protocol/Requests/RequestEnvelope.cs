using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Net;
using System.Text.Json;

namespace Dynamo.Vllm.Protocol.Requests;

/// <summary>The control header of a request: who asks, where the answer goes, in which codec (request-plane.md, 1.4).</summary>
/// <param name="Id">Request id; unique per client request but repeated on a migrated attempt.</param>
/// <param name="Codec">Codec of the body and of every response body.</param>
/// <param name="ResponseAddress">Where to dial home: <c>host:port</c>, IPv6 in brackets.</param>
/// <param name="ResponseSubject">Names the stream in the handshake.</param>
/// <param name="IsStreamingInput">The caller wants to stream its input, which no endpoint of this worker takes.</param>
public sealed record RequestEnvelope(string Id, PayloadCodec Codec, string ResponseAddress, string ResponseSubject, bool IsStreamingInput)
{
    /// <summary>The only <c>connection_info.transport</c> that can be served.</summary>
    public const string TcpTransport = "tcp_server";

    /// <summary>Reads the header. Unknown fields are ignored.</summary>
    /// <remarks>
    /// The connection information is needed even to refuse the request, so what is wrong with the rest is reported
    /// by <paramref name="problem"/> while the envelope is still returned.
    /// </remarks>
    /// <exception cref="ProtocolException">There is no way to answer, so the request must be refused where it came in.</exception>
    public static RequestEnvelope Parse(ReadOnlyMemory<byte> header, out string? problem)
    {
        try
        {
            using var document = JsonDocument.Parse(header);
            problem = null;
            var root = document.RootElement;
            var connection = Member(root, "connection_info");
            var transport = NeededText(connection, "transport", "connection_info.transport");
            if (transport != TcpTransport)
            {
                throw new ProtocolException($"connection_info.transport '{transport}' is not '{TcpTransport}'");
            }

            using var info = JsonDocument.Parse(NeededText(connection, "info", "connection_info.info"));
            var subject = NeededText(info.RootElement, "subject", "connection_info.info.subject");
            var address = NeededText(info.RootElement, "address", "connection_info.info.address");
            if (!TryParseAddress(address, out _))
            {
                throw new ProtocolException($"connection_info.info.address '{address}' is not ip:port");
            }

            var id = Text(root, "id", "id", ref problem) ?? "";
            var codec = ReadCodec(root, ref problem);
            var isStreamingInput = Text(root, "request_type", "request_type", ref problem) == "many_in";
            CheckContext(info.RootElement, id, ref problem);
            return new RequestEnvelope(id, codec, address, subject, isStreamingInput);
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException)
        {
            throw new ProtocolException($"control header is not readable: {exception.Message}", exception);
        }
    }

    /// <summary>Address and port, IPv6 in brackets. Names are not resolved: callers send what they listen on.</summary>
    public static bool TryParseAddress(string address, [NotNullWhen(true)] out IPEndPoint? endpoint)
    {
        var colon = address.LastIndexOf(':');
        var host = colon < 0 ? "" : address[..colon].Trim('[', ']');
        endpoint =
            IPAddress.TryParse(host, out var ip)
            && ushort.TryParse(address.AsSpan(colon + 1), NumberStyles.None, CultureInfo.InvariantCulture, out var port)
            && port != 0
                ? new IPEndPoint(ip, port)
                : null;
        return endpoint is not null;
    }

    private static PayloadCodec ReadCodec(JsonElement root, ref string? problem)
    {
        switch (Text(root, "payload_codec", "payload_codec", ref problem))
        {
            case "msgpack":
                return PayloadCodec.MessagePack;
            case null or "json":
                return PayloadCodec.Json;
            case var other:
                problem ??= $"payload_codec '{other}' is not one of json, msgpack";
                return PayloadCodec.Json;
        }
    }

    private static void CheckContext(JsonElement info, string id, ref string? problem)
    {
        if (id.Length == 0)
        {
            problem ??= "id is empty";
        }

        if (Text(info, "context", "connection_info.info.context", ref problem) != id)
        {
            problem ??= "connection_info.info.context differs from id";
        }

        if (Text(info, "stream_type", "connection_info.info.stream_type", ref problem) is var type && type != "response")
        {
            problem ??= $"connection_info.info.stream_type '{type}' is not 'response'";
        }
    }

    private static JsonElement Member(JsonElement parent, string name) =>
        parent.ValueKind == JsonValueKind.Object && parent.TryGetProperty(name, out var value) ? value : default;

    private static string NeededText(JsonElement parent, string name, string field) =>
        Member(parent, name) is { ValueKind: JsonValueKind.String } value
            ? value.GetString()!
            : throw new ProtocolException($"{field} is missing or not a string");

    /// <summary>Null if absent or null. What is no string is a problem, not an exception: its sender can still be told.</summary>
    private static string? Text(JsonElement parent, string name, string field, ref string? problem)
    {
        var value = Member(parent, name);
        switch (value.ValueKind)
        {
            case JsonValueKind.String:
                return value.GetString();
            case JsonValueKind.Undefined or JsonValueKind.Null:
                return null;
            default:
                problem ??= $"{field} is of type {value.ValueKind}, must be a string";
                return null;
        }
    }
}
