using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json.Nodes;

namespace Dynamo.Vllm.Testing.Network;

/// <summary>The caller's side of the response channel: gives out request payloads, and reads the frames that come back.</summary>
public sealed class CallHomeListener : IDisposable
{
    private const int PrefixBytes = 24;

    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);

    public CallHomeListener()
    {
        _listener.Start();
        Address = _listener.LocalEndpoint.ToString()!;
    }

    public string Address { get; }

    /// <summary>A two-part request message that names this listener.</summary>
    public byte[] Request(string id, string body = "{}")
    {
        var info = new JsonObject
        {
            ["address"] = Address,
            ["subject"] = Guid.NewGuid().ToString(),
            ["context"] = id,
            ["stream_type"] = "response",
        };
        var header = new JsonObject
        {
            ["id"] = id,
            ["request_type"] = "single_in",
            ["response_type"] = "many_out",
            ["payload_codec"] = "json",
            ["connection_info"] = new JsonObject { ["transport"] = "tcp_server", ["info"] = info.ToJsonString() },
        };
        var headerBytes = Encoding.UTF8.GetBytes(header.ToJsonString());
        var bodyBytes = Encoding.UTF8.GetBytes(body);
        var message = new byte[PrefixBytes + headerBytes.Length + bodyBytes.Length];
        BinaryPrimitives.WriteInt64BigEndian(message, headerBytes.Length);
        BinaryPrimitives.WriteInt64BigEndian(message.AsSpan(8), bodyBytes.Length);
        headerBytes.CopyTo(message, PrefixBytes);
        bodyBytes.CopyTo(message, PrefixBytes + headerBytes.Length);
        return message;
    }

    /// <summary>Accepts one connection and reads until the sentinel or the end: the text of each header or body, in order.</summary>
    public async Task<IReadOnlyList<string>> ReadAsync(
        Func<Socket, Task<Stream>>? secure = null,
        CancellationToken cancellationToken = default
    )
    {
        using var socket = await _listener.AcceptSocketAsync(cancellationToken);
        await using var stream = secure is null ? new NetworkStream(socket) : await secure(socket);
        var frames = new List<string>();
        var prefix = new byte[PrefixBytes];
        while (await stream.ReadAtLeastAsync(prefix, PrefixBytes, throwOnEndOfStream: false, cancellationToken) == PrefixBytes)
        {
            var length = BinaryPrimitives.ReadInt64BigEndian(prefix) + BinaryPrimitives.ReadInt64BigEndian(prefix.AsSpan(8));
            var content = new byte[length];
            await stream.ReadExactlyAsync(content, cancellationToken);
            frames.Add(Encoding.UTF8.GetString(content));
            if (frames[^1] == "\"sentinel\"")
            {
                break;
            }
        }

        return frames;
    }

    /// <summary>Accepts one connection, counts its bytes until it ends, and closes: a caller that cannot tell whose it was.</summary>
    public async Task<int> ReadToCutAsync()
    {
        using var socket = await _listener.AcceptSocketAsync();
        var buffer = new byte[4096];
        var total = 0;
        while (await socket.ReceiveAsync(buffer) is var count and > 0)
        {
            total += count;
        }

        return total;
    }

    /// <summary>Accepts one connection, waits for its beginning, and answers it as a caller does that wants nothing any more.</summary>
    public async Task KillAsync()
    {
        using var socket = await _listener.AcceptSocketAsync();
        await socket.ReceiveAsync(new byte[4096]);
        var kill = new byte[PrefixBytes + 6];
        kill[7] = 6;
        "\"kill\""u8.CopyTo(kill.AsSpan(PrefixBytes));
        await socket.SendAsync(kill);
    }

    public void Dispose() => _listener.Dispose();
}
