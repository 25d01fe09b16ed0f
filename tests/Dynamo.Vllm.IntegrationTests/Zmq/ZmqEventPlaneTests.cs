using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using System.Text;
using Dynamo.Vllm.Core.KvEvents;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Protocol.KvEvents;
using Dynamo.Vllm.Protocol.Zmtp;
using Dynamo.Vllm.Transports;
using Dynamo.Vllm.Transports.Zmq;
using Microsoft.Extensions.Logging.Abstractions;

namespace Dynamo.Vllm.IntegrationTests.Zmq;

using Dynamo.Vllm.Testing;

public sealed class ZmqEventPlaneTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    private static readonly EventTopic Topic = new(
        new EndpointId("nsx", "back-end", "gen_1"),
        EventTopics.KvEvents,
        new PublisherId(0x0b381e5ca70c28)
    );

    [PeerFact]
    public async Task Libzmq_receives_the_four_frames_of_the_reference()
    {
        await using var publisher = await OpenAsync(null);
        var subscribed = Subscribed(publisher);
        await using var subscriber = ZmqPeer.Start("sub", Endpoint(publisher), "kv-events");
        await subscribed.WaitAsync(Patience);
        foreach (var size in (int[])[10, 200, 400, 1_000_000])
        {
            var envelope = new byte[size];
            new Random(size).NextBytes(envelope);
            await publisher.PublishAsync(new EventMessage((ulong)size, envelope), CancellationToken.None);
            var frames = await subscriber.ReadFramesAsync();
            Assert.Equal(4, frames.Length);
            Assert.Equal("kv-events", Encoding.UTF8.GetString(frames[0]));
            Assert.Equal(Topic.Publisher.Value, BinaryPrimitives.ReadUInt64BigEndian(frames[1]));
            Assert.Equal((ulong)size, BinaryPrimitives.ReadUInt64BigEndian(frames[2]));
            Assert.Equal(1, frames[3][0]);
            Assert.Equal(envelope, frames[3][5..]);
        }
    }

    [PeerFact]
    public async Task Only_subscribers_of_the_topic_are_sent_anything()
    {
        await using var publisher = await OpenAsync(null);
        var subscribed = Subscribed(publisher);
        await using var other = ZmqPeer.Start("sub", Endpoint(publisher), "kv_metrics");
        await using var all = ZmqPeer.Start("sub", Endpoint(publisher), "");
        await subscribed.WaitAsync(Patience);
        await publisher.PublishAsync(new EventMessage(1, new byte[10]), CancellationToken.None);
        Assert.Equal("kv-events", Encoding.UTF8.GetString((await all.ReadFramesAsync())[0]));
        await Assert.ThrowsAsync<TimeoutException>(() => other.ReadFramesAsync().WaitAsync(TimeSpan.FromMilliseconds(200)));
    }

    [PeerFact]
    public async Task Through_a_broker_the_first_frame_is_the_subject()
    {
        await using var broker = ZmqPeer.Start("proxy");
        var first = await broker.ReadAsync("broker");
        await using var another = ZmqPeer.Start("proxy");
        var second = await another.ReadAsync("broker");
        var xpub = second["xpub"]!.GetValue<string>();
        await using var publisher = await OpenAsync(
            ZmqBrokerAddresses.Parse($"xsub={first["xsub"]};{second["xsub"]} , xpub={first["xpub"]};{xpub}")
        );
        Assert.Null(publisher.Transport);
        var subscribed = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        ((ZmqBrokerPublisher)publisher).Subscribed += () => subscribed.TrySetResult();
        await using var subscriber = ZmqPeer.Start("sub", xpub, "namespace.nsx.component.back-end.endpoint.gen_1.kv-events");
        await subscribed.Task.WaitAsync(Patience);
        await publisher.PublishAsync(new EventMessage(5, new byte[10]), CancellationToken.None);
        Assert.Equal(
            "namespace.nsx.component.back-end.endpoint.gen_1.kv-events",
            Encoding.UTF8.GetString((await subscriber.ReadFramesAsync())[0])
        );
    }

    [Fact]
    public async Task A_subscriber_that_does_not_read_loses_messages_and_holds_nobody_up()
    {
        await using var publisher = await OpenAsync(null);
        var subscribed = Subscribed(publisher);
        using var socket = await ZmqEndpoint.ConnectAsync(Endpoint(publisher), CancellationToken.None);
        await socket.SendAsync((byte[])[.. ZmtpCodec.Greeting(), .. ZmtpCodec.Ready("SUB"u8), 0, 1, 1]);
        await subscribed.WaitAsync(Patience);
        var envelope = new byte[1024 * 1024];
        for (var i = 0; i < 400; i++)
        {
            var sending = publisher.PublishAsync(new EventMessage((ulong)i, envelope), CancellationToken.None);
            Assert.True(sending.IsCompletedSuccessfully);
        }

        Assert.InRange(publisher.Dropped, 100, 200); // 256 MiB are queued, and some are in the socket
    }

    [Fact]
    public async Task Subscriptions_in_the_command_form_of_later_versions_count()
    {
        await using var publisher = await OpenAsync(null);
        var subscribed = Subscribed(publisher);
        using var socket = await ZmqEndpoint.ConnectAsync(Endpoint(publisher), CancellationToken.None);
        byte[] command = [.. "\u0009SUBSCRIBE"u8, .. "kv-"u8];
        await socket.SendAsync(
            (byte[])[.. ZmtpCodec.Greeting(), .. ZmtpCodec.Ready("SUB"u8), ZmtpCodec.Command, (byte)command.Length, .. command]
        );
        await subscribed.WaitAsync(Patience);
    }

    [Fact]
    public async Task Peers_that_talk_nonsense_do_not_disturb_others()
    {
        await using var publisher = await OpenAsync(null);
        for (var i = 0; i < 5; i++)
        {
            using var scanner = await ZmqEndpoint.ConnectAsync(Endpoint(publisher), CancellationToken.None);
            await scanner.SendAsync(
                "GET / HTTP/1.1\r\nHost: a very long name so that there are enough bytes for a greeting\r\n\r\n"u8.ToArray()
            );
            var buffer = new byte[256];
            while (await scanner.ReceiveAsync(buffer).WaitAsync(Patience) > 0)
            {
                // until the publisher closes
            }
        }

        var subscribed = Subscribed(publisher);
        using var socket = await ZmqEndpoint.ConnectAsync(Endpoint(publisher), CancellationToken.None);
        await socket.SendAsync((byte[])[.. ZmtpCodec.Greeting(), .. ZmtpCodec.Ready("SUB"u8), 0, 1, 1]);
        await subscribed.WaitAsync(Patience);
    }

    [Theory]
    [InlineData("xsub=tcp://a:1")]
    [InlineData("tcp://a:1")]
    [InlineData("xsub=,xpub=tcp://a:1")]
    public void Broker_urls_without_both_sides_are_refused(string text) =>
        Assert.Throws<FormatException>(() => ZmqBrokerAddresses.Parse(text));

    [Fact]
    public async Task Callers_that_say_nothing_keep_no_router_out()
    {
        const int max = 4;
        var cap = new ConnectionCap("test", max, TimeProvider.System, NullLogger.Instance);
        await using var plane = new ZmqEventPlane("127.0.0.1", null, cap, TimeProvider.System, NullLogger<ZmqEventPlane>.Instance);
        await using var publisher = await plane.OpenAsync(Topic, CancellationToken.None);
        using var stopping = new CancellationTokenSource();
        var (before, after) = (new RecordingSink(), new RecordingSink());
        var running = new List<Task> { new ZmqEventFeed(TimeProvider.System).RunAsync(Endpoint(publisher), before, stopping.Token) };
        await ZmqPeer.ArrivesAsync(before.NextAsync(), SendAsync, "alone");
        var silent = new List<Socket>();
        for (var i = 0; i < 5 * max; i++)
        {
            silent.Add(new Socket(SocketType.Stream, ProtocolType.Tcp));
            await silent[i].ConnectAsync(IPAddress.Loopback, new Uri(Endpoint(publisher)).Port);
        }

        running.Add(new ZmqEventFeed(TimeProvider.System).RunAsync(Endpoint(publisher), after, stopping.Token));
        await ZmqPeer.ArrivesAsync(after.NextAsync(), SendAsync, "to the one that came last");
        await ZmqPeer.ArrivesAsync(before.NextAsync(), SendAsync, "to the one that was there");
        Assert.InRange(cap.Open, 2, max);
        Assert.Equal(5 * max + 2 - max, cap.Closed); // none of the two that listen
        silent.ForEach(socket => socket.Dispose());
        await stopping.CancelAsync();
        await Task.WhenAll(running)
            .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ContinueOnCapturedContext);

        Task SendAsync() => publisher.PublishAsync(new EventMessage(1, new byte[40]), CancellationToken.None).AsTask();
    }

    [Theory]
    [InlineData("0.0.0.0")]
    [InlineData("::")]
    [InlineData("no-such-interface")]
    public void Hosts_that_routers_cannot_reach_are_refused(string host) =>
        Assert.Throws<InvalidOperationException>(() =>
            new ZmqEventPlane(host, null, ConnectionCap.Unlimited, TimeProvider.System, NullLogger<ZmqEventPlane>.Instance)
        );

    private static async Task<IEventPublisher> OpenAsync(ZmqBrokerAddresses? brokers)
    {
        await using var plane = new ZmqEventPlane(
            "127.0.0.1",
            brokers,
            ConnectionCap.Unlimited,
            TimeProvider.System,
            NullLogger<ZmqEventPlane>.Instance
        );
        return await plane.OpenAsync(Topic, CancellationToken.None);
    }

    private static string Endpoint(IEventPublisher publisher) => publisher.Transport!["config"]!["endpoint"]!.GetValue<string>();

    private static Task Subscribed(IEventPublisher publisher)
    {
        var subscribed = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        ((ZmqBoundPublisher)publisher).Subscribed += () => subscribed.TrySetResult();
        return subscribed.Task;
    }
}
