using System.Buffers;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol.MessagePack;
using Dynamo.Vllm.Protocol.Zmtp;

namespace Dynamo.Vllm.Benchmarks;

/// <summary>The other process of <see cref="TokenPath"/>: sends the steps, and reads what the callers get.</summary>
internal static class TokenPathPeer
{
    public static async Task RunAsync(string input, string output, int streams, int steps, int stepMilliseconds)
    {
        using var listener = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen(streams);
        await using var requests = await ConnectAsync(input, "DEALER"u8.ToArray());
        await using var outputs = await ConnectAsync(output, "PUSH"u8.ToArray());
        Console.WriteLine(((IPEndPoint)listener.LocalEndPoint!).Port.ToString(CultureInfo.InvariantCulture));
        var readers = new Task[streams];
        for (var i = 0; i < streams; i++)
        {
            readers[i] = ReadAsync(await listener.AcceptAsync());
        }

        await Console.In.ReadToEndAsync();
        using var pace = new PeriodicTimer(TimeSpan.FromMilliseconds(stepMilliseconds));
        var (step, last) = (Step(streams, finish: null), Step(streams, finish: 1));
        for (var i = 1; i <= steps; i++)
        {
            await pace.WaitForNextTickAsync();
            var body = i == steps ? last : step;
            ZmtpCodec.WriteFrameHeader(outputs.Output, flags: 0, body.Length);
            await outputs.Output.WriteAsync(body);
        }

        await Task.WhenAll(readers);
    }

    private static async Task<ZmtpConnection> ConnectAsync(string address, byte[] type)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await socket.ConnectAsync(new UnixDomainSocketEndPoint(address["ipc://".Length..]));
        return await ZmtpConnection.OpenAsync(new NetworkStream(socket, ownsSocket: true), type, _ => true, TimeProvider.System, default);
    }

    private static async Task ReadAsync(Socket caller)
    {
        using var owner = caller;
        var buffer = new byte[512];
        var tail = 0;
        // The worker waits for the caller's close after the sentinel; the bare loop closes by itself.
        for (int read; (read = await caller.ReceiveAsync(buffer.AsMemory(tail))) > 0; )
        {
            var length = tail + read;
            if (buffer.AsSpan(0, length).EndsWith("\"sentinel\""u8))
            {
                return;
            }

            tail = Math.Min(16, length);
            buffer.AsSpan(length - tail, tail).CopyTo(buffer);
        }
    }

    private static ReadOnlyMemory<byte> Step(int streams, int? finish)
    {
        var outputs = new JsonArray();
        for (var i = 1; i <= streams; i++)
        {
            var output = new JsonArray([$"r-{i:x8}", new JsonArray(45_000 + i), .. new JsonNode?[16]]);
            output[5] = finish;
            outputs.Add(output);
        }

        var step = new JsonArray(
            0,
            outputs,
            new JsonObject { ["num_running_reqs"] = streams, ["kv_cache_usage"] = 0.25 },
            1.0,
            null,
            null,
            null,
            null
        );
        var body = new ArrayBufferWriter<byte>();
        MessagePackJson.WriteMessagePack(Encoding.UTF8.GetBytes(step.ToJsonString()), body);
        return body.WrittenMemory;
    }
}
