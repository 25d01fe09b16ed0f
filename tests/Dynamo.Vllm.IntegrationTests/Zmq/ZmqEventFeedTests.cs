using System.Buffers;
using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol.KvEvents;
using Dynamo.Vllm.Protocol.Zmtp;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Transports.Zmq;

namespace Dynamo.Vllm.IntegrationTests.Zmq;

public sealed class ZmqEventFeedTests : IAsyncDisposable
{
    private readonly CancellationTokenSource _stopping = new();
    private readonly RecordingSink _sink = new();
    private Task _running = Task.CompletedTask;

    public async ValueTask DisposeAsync()
    {
        await _stopping.CancelAsync();
        await _running.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _stopping.Dispose();
    }

    [PeerFact]
    public async Task Messages_of_libzmq_arrive_whole_whatever_their_size()
    {
        await using var publisher = ZmqPeer.Start("xpub");
        Run((await publisher.ReadAsync("endpoint")).GetValue<string>());
        Assert.Equal("01", (await publisher.ReadAsync("subscribed")).GetValue<string>());
        foreach (var size in (int[])[0, 1, 255, 256, 70_000, 3_000_000])
        {
            var payload = new byte[size];
            new Random(size).NextBytes(payload);
            await publisher.SendAsync([], Sequence((ulong)size), payload);
            var message = await _sink.NextAsync();
            Assert.Equal(3, message.Frames);
            Assert.Equal(Sequence((ulong)size), message.Sequence);
            Assert.Equal(payload, message.Payload);
        }
    }

    [PeerFact]
    public async Task A_publisher_that_went_away_is_found_again()
    {
        await using var publisher = ZmqPeer.Start("xpub");
        var endpoint = (await publisher.ReadAsync("endpoint")).GetValue<string>();
        Run(endpoint);
        await _sink.ConnectedAsync();
        await publisher.WriteAsync(new JsonObject { ["close"] = true });
        await _sink.DisconnectedAsync();
        await publisher.WriteAsync(new JsonObject { ["bind"] = endpoint });
        await publisher.ReadAsync("endpoint");
        await publisher.ReadAsync("subscribed");
        await publisher.SendAsync([], Sequence(1), [7]);
        Assert.Equal("07", Convert.ToHexString((await _sink.NextAsync()).Payload));
    }

    [PeerFact]
    public async Task The_simulated_engine_is_understood()
    {
        int port;
        using (var probe = Listen())
        {
            port = ((IPEndPoint)probe.LocalEndPoint!).Port;
        }

        await using var publisher = ZmqPeer.Start("simulated", SimulatedPaths.SimulatedEngine, $"{port}");
        await publisher.ReadAsync("ready");
        Run($"tcp://127.0.0.1:{port}");
        await _sink.ConnectedAsync();
        var arrived = _sink.NextAsync();
        await ZmqPeer.ArrivesAsync(
            arrived,
            () => publisher.WriteAsync(new JsonObject { ["publish"] = new JsonArray(new JsonObject { ["type"] = "AllBlocksCleared" }) }),
            "from the simulated engine"
        );
        var batch = new EngineEventBatch();
        batch.Decode((await arrived).Payload);
        Assert.Equal(EngineEventKind.Cleared, Assert.Single(batch.Events.ToArray()).Kind);
    }

    [PeerFact]
    public async Task Heartbeats_of_libzmq_are_answered()
    {
        await using var publisher = ZmqPeer.Start("xpub", "heartbeat");
        Run((await publisher.ReadAsync("endpoint")).GetValue<string>());
        await publisher.ReadAsync("subscribed");
        for (var i = 0; i < 3; i++)
        {
            await publisher.SendAsync([], Sequence((ulong)i), [1]);
            await _sink.NextAsync();
        }
    }

    [Fact]
    public async Task Bytes_that_come_one_by_one_make_the_same_messages()
    {
        using var listener = Listen();
        Run(EndpointOf(listener));
        using var socket = await AcceptAsync(listener);
        byte[] bytes = [.. Hello("PUB"), .. Message([], Sequence(0), new byte[300]), .. Message([], Sequence(1), [9])];
        foreach (var one in bytes)
        {
            await socket.SendAsync(new[] { one });
        }

        Assert.Equal(300, (await _sink.NextAsync()).Payload.Length);
        Assert.Equal("09", Convert.ToHexString((await _sink.NextAsync()).Payload));
    }

    [Fact]
    public async Task A_frame_above_the_limit_ends_the_connection_before_its_bytes_arrive()
    {
        using var listener = Listen();
        Run(EndpointOf(listener));
        using var socket = await AcceptAsync(listener);
        await socket.SendAsync((byte[])[.. Hello("PUB"), 2, 0, 0, 0, 1, 0, 0, 0, 0]);
        Assert.Contains("above the limit", await _sink.DisconnectedAsync(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("GET / HTTP/1.1\r\nHost: something that is no ZeroMQ peer at all\r\n\r\n......................", "does not speak ZMTP")]
    [InlineData("", "closed the connection")]
    public async Task A_peer_that_is_no_publisher_is_left_with_a_reason(string answer, string reason)
    {
        using var listener = Listen();
        Run(EndpointOf(listener));
        using (var socket = await AcceptAsync(listener))
        {
            await socket.SendAsync(System.Text.Encoding.ASCII.GetBytes(answer));
            socket.Shutdown(SocketShutdown.Send);
            Assert.Contains(reason, await _sink.DisconnectedAsync(), StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task A_socket_of_the_wrong_type_is_left_with_a_reason()
    {
        using var listener = Listen();
        Run(EndpointOf(listener));
        using var socket = await AcceptAsync(listener);
        await socket.SendAsync(Hello("REP"));
        Assert.Contains("REP", await _sink.DisconnectedAsync(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_address_that_no_other_process_can_reach_is_reported_as_such()
    {
        Run("inproc://events");
        Assert.Contains("neither tcp:// nor ipc://", await _sink.DisconnectedAsync(), StringComparison.Ordinal);
    }

    private static byte[] Hello(string type) => [.. ZmtpCodec.Greeting(), .. ZmtpCodec.Ready(System.Text.Encoding.ASCII.GetBytes(type))];

    private static byte[] Message(params byte[][] frames)
    {
        var output = new ArrayBufferWriter<byte>();
        for (var i = 0; i < frames.Length; i++)
        {
            ZmtpCodec.WriteFrameHeader(output, i < frames.Length - 1 ? ZmtpCodec.More : (byte)0, frames[i].Length);
            output.Write(frames[i]);
        }

        return output.WrittenSpan.ToArray();
    }

    private static byte[] Sequence(ulong value)
    {
        var bytes = new byte[8];
        BinaryPrimitives.WriteUInt64BigEndian(bytes, value);
        return bytes;
    }

    private static Socket Listen()
    {
        var listener = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen();
        return listener;
    }

    private static string EndpointOf(Socket listener) => $"tcp://{listener.LocalEndPoint}";

    private static Task<Socket> AcceptAsync(Socket listener) => listener.AcceptAsync().WaitAsync(TimeSpan.FromSeconds(30));

    private void Run(string endpoint) => _running = new ZmqEventFeed(TimeProvider.System).RunAsync(endpoint, _sink, _stopping.Token);
}
