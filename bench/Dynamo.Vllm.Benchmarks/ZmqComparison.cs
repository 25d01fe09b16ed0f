using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;
using Dynamo.Vllm.Core.KvEvents;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Protocol.KvEvents;
using Dynamo.Vllm.Transports;
using Dynamo.Vllm.Transports.Zmq;
using Microsoft.Extensions.Logging.Abstractions;
using NetMQ;
using NetMQ.Sockets;

namespace Dynamo.Vllm.Benchmarks;

/// <summary>Our ZeroMQ endpoints against NetMQ's, one message at a time (docs/decisions/0010-zmq.md).</summary>
/// <remarks>
/// The peer is a socket that does the handshake and then sends prepared bytes, or reads and counts, so that it costs next to nothing. What
/// is told is the CPU time of the process and what was allocated, per message.
/// </remarks>
internal static class ZmqComparison
{
    private const int Messages = 400_000;
    private const int Rounds = 3;
    private const int Window = 2_000;
    private const int PayloadBytes = 600;

    public static async Task MeasureAsync()
    {
        for (var round = 1; round <= Rounds; round++)
        {
            await MeasureAsync($"round {round}: SUB, ours ", ReceiveOursAsync);
            await MeasureAsync($"round {round}: SUB, NetMQ", ReceiveNetMqAsync);
            await MeasureAsync($"round {round}: PUB, ours ", PublishOursAsync);
            await MeasureAsync($"round {round}: PUB, NetMQ", PublishNetMqAsync);
        }

        NetMQConfig.Cleanup(block: false);
    }

    private static async Task MeasureAsync(string name, Func<Task> run)
    {
        GC.Collect();
        var (cpu, bytes, started) = (Environment.CpuUsage.TotalTime, GC.GetTotalAllocatedBytes(), Stopwatch.GetTimestamp());
        await run();
        var elapsed = Stopwatch.GetElapsedTime(started);
        var micros = (Environment.CpuUsage.TotalTime - cpu).TotalMicroseconds / Messages;
        var allocated = (GC.GetTotalAllocatedBytes() - bytes) / (double)Messages;
        Console.WriteLine(
            string.Create(
                CultureInfo.InvariantCulture,
                $"{name} {micros:0.00} us CPU, {allocated:0} bytes, {Messages / elapsed.TotalSeconds:0} messages/s"
            )
        );
    }

    private static async Task ReceiveOursAsync()
    {
        using var listener = Listen(out var address);
        var sending = SendAsync(listener);
        using var done = new CancellationTokenSource();
        var sink = new CountingSink(done);
        try
        {
            await new ZmqEventFeed(TimeProvider.System).RunAsync(address, sink, done.Token);
        }
        catch (OperationCanceledException) when (sink.Count == Messages)
        {
            await sending;
        }
    }

    private static async Task ReceiveNetMqAsync()
    {
        using var listener = Listen(out var address);
        var sending = SendAsync(listener);
        using var socket = new SubscriberSocket();
        socket.Options.ReceiveHighWatermark = 0;
        socket.Connect(address);
        socket.SubscribeToAnyTopic();
        var frame = new Msg();
        frame.InitEmpty();
        for (var count = 0; count < Messages; )
        {
            socket.Receive(ref frame);
            if (!frame.HasMore)
            {
                count += frame.Size == PayloadBytes ? 1 : throw new InvalidDataException("not what was sent");
            }
        }

        frame.Close();
        await sending;
    }

    private static async Task PublishOursAsync()
    {
        await using var plane = new ZmqEventPlane(
            "127.0.0.1",
            null,
            ConnectionCap.Unlimited,
            TimeProvider.System,
            NullLogger<ZmqEventPlane>.Instance
        );
        await using var publisher = await plane.OpenAsync(
            new EventTopic(new EndpointId("n", "c", "e"), "kv-events", new PublisherId(7)),
            default
        );
        using var subscriber = Subscribe(publisher.Transport!["config"]!["endpoint"]!.GetValue<string>());
        var envelope = new byte[PayloadBytes];
        var reader = new CountingReader(subscriber);
        // A subscription takes a moment to arrive; what comes before it is for nobody.
        while (subscriber.Available == 0)
        {
            await publisher.PublishAsync(new EventMessage(0, envelope), default);
            await Task.Delay(1);
        }

        var size = reader.ReadMessage();
        reader.Drain();
        for (var sent = 0; sent < Messages; sent += Window)
        {
            for (var i = 0; i < Window; i++)
            {
                await publisher.PublishAsync(new EventMessage((ulong)(sent + i), envelope), default);
            }

            reader.Read((long)size * Window);
        }
    }

    private static async Task PublishNetMqAsync()
    {
        using var socket = new PublisherSocket();
        socket.Options.SendHighWatermark = 0;
        var port = socket.BindRandomPort("tcp://127.0.0.1");
        using var subscriber = Subscribe($"tcp://127.0.0.1:{port}");
        var (topic, id, sequence, payload) = (Encoding.UTF8.GetBytes("kv-events"), new byte[8], new byte[8], new byte[PayloadBytes + 5]);
        var reader = new CountingReader(subscriber);
        while (subscriber.Available == 0)
        {
            Publish();
            await Task.Delay(1);
        }

        var size = reader.ReadMessage();
        reader.Drain();
        for (var sent = 0; sent < Messages; sent += Window)
        {
            for (var i = 0; i < Window; i++)
            {
                Publish();
            }

            reader.Read((long)size * Window);
        }

        void Publish() => socket.SendMoreFrame(topic).SendMoreFrame(id).SendMoreFrame(sequence).SendFrame(payload);
    }

    private static Socket Listen(out string address)
    {
        var listener = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen();
        address = string.Create(CultureInfo.InvariantCulture, $"tcp://127.0.0.1:{((IPEndPoint)listener.LocalEndPoint!).Port}");
        return listener;
    }

    /// <summary>A publisher made of bytes: topic, sequence and payload, over and over.</summary>
    private static Task SendAsync(Socket listener) =>
        Task.Run(() =>
        {
            using var socket = listener.Accept();
            Greet(socket, "PUB");
            byte[] one = [1, 0, 1, 8, .. new byte[8], 2, .. Long(PayloadBytes), .. new byte[PayloadBytes]];
            var block = Enumerable.Repeat(one, 500).SelectMany(message => message).ToArray();
            for (var sent = 0; sent < Messages; sent += 500)
            {
                socket.Send(block);
            }

            socket.Shutdown(SocketShutdown.Send);
            while (socket.Receive(block) > 0) { }
        });

    private static Socket Subscribe(string address)
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { ReceiveBufferSize = 8 << 20 };
        var uri = new Uri(address);
        socket.Connect(IPAddress.Loopback, uri.Port);
        Greet(socket, "SUB");
        socket.Send([0, 1, 1]);
        return socket;
    }

    private static void Greet(Socket socket, string type)
    {
        byte[] greeting = [0xff, .. new byte[8], 0x7f, 3, 0, .. "NULL"u8, .. new byte[48]];
        byte[] ready = [5, .. "READY"u8, 11, .. "Socket-Type"u8, 0, 0, 0, 3, .. Encoding.ASCII.GetBytes(type)];
        socket.Send([.. greeting, 4, (byte)ready.Length, .. ready]);
        var buffer = new byte[64];
        Fill(socket, buffer);
        Fill(socket, buffer.AsSpan(0, 2));
        Fill(socket, buffer.AsSpan(0, buffer[1]));
    }

    private static void Fill(Socket socket, Span<byte> buffer)
    {
        while (buffer.Length > 0)
        {
            var read = socket.Receive(buffer);
            buffer = read > 0 ? buffer[read..] : throw new IOException("the peer is gone");
        }
    }

    private static byte[] Long(int length) => [0, 0, 0, 0, (byte)(length >> 24), (byte)(length >> 16), (byte)(length >> 8), (byte)length];

    private sealed class CountingSink(CancellationTokenSource done) : IEngineEventSink
    {
        public int Count { get; private set; }

        public void OnConnected() { }

        public void OnDisconnected(string problem) => throw new InvalidDataException(problem);

        public ValueTask OnMessageAsync(EngineMessage message)
        {
            Count += message.Payload.Length == PayloadBytes ? 1 : throw new InvalidDataException("not what was sent");
            if (Count == Messages)
            {
                done.Cancel();
            }

            return ValueTask.CompletedTask;
        }
    }

    private sealed class CountingReader(Socket socket)
    {
        private readonly byte[] _buffer = new byte[1 << 20];

        /// <summary>Bytes of one message: four frames, the last of them long or short.</summary>
        public int ReadMessage()
        {
            var size = 0;
            for (var isLast = false; !isLast; )
            {
                Fill(socket, _buffer.AsSpan(0, 2));
                var (flags, length, header) = (_buffer[0], (int)_buffer[1], 2);
                if ((flags & 2) != 0)
                {
                    Fill(socket, _buffer.AsSpan(0, 7));
                    (length, header) = ((_buffer[4] << 16) | (_buffer[5] << 8) | _buffer[6], 9);
                }

                Fill(socket, _buffer.AsSpan(0, length));
                size += header + length;
                isLast = (flags & 1) == 0;
            }

            return size;
        }

        /// <summary>What was published before the measurement.</summary>
        public void Drain()
        {
            Thread.Sleep(100);
            while (socket.Available > 0)
            {
                socket.Receive(_buffer);
                Thread.Sleep(20);
            }
        }

        public void Read(long bytes)
        {
            while (bytes > 0)
            {
                bytes -= socket.Receive(_buffer, (int)Math.Min(bytes, _buffer.Length), SocketFlags.None);
            }
        }
    }
}
