using System.Buffers.Binary;
using Dynamo.Vllm.Core.KvEvents;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Protocol.KvEvents;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Network;
using Dynamo.Vllm.Transports;
using Dynamo.Vllm.Transports.Zmq;
using Microsoft.Extensions.Logging.Abstractions;

namespace Dynamo.Vllm.IntegrationTests.Zmq;

/// <summary>Both ends of ours, each against real libzmq, when the connection
/// between them breaks anywhere in the handshake or after it.</summary>
public sealed class ZmqFaultTests
{
    private static readonly EventTopic Topic = new(
        new EndpointId("nsx", "back-end", "gen_1"),
        EventTopics.KvEvents,
        new PublisherId(0x0b381e5ca70c28)
    );

    /// <summary>The greeting is 64 bytes, READY some 27; behind it is the subscription
    /// or the first message. A byte of the greeting may also be wrong.</summary>
    private static readonly FaultPlan[] Plans =
    [
        .. new[] { 0, 1, 9, 10, 11, 12, 32, 63, 64, 65, 80, 91, 95, 120 }.Select(position => new FaultPlan
        {
            CutAt = position,
            IsForOne = true,
        }),
        .. new[] { 0, 20, 64, 91, 120 }.Select(position => new FaultPlan { HalfCloseAt = position, IsForOne = true }),
        .. new[] { 0, 9, 10, 12, 20 }.Select(position => new FaultPlan { FlipAt = position, IsForOne = true }),
        new FaultPlan { PieceBytesMax = 1 },
    ];

    [PeerTheory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task The_feed_from_the_engine_is_opened_again(bool isFromEngine)
    {
        await using var publisher = ZmqPeer.Start("xpub");
        var endpoint = (await publisher.ReadAsync("endpoint")).GetValue<string>();
        await using var proxy = FaultProxy.Start(new Uri(endpoint).Port);
        foreach (var plan in Plans)
        {
            Meet(proxy, plan, isFromEngine);
            using var stopping = new CancellationTokenSource();
            var sink = new RecordingSink();
            var running = new ZmqEventFeed(TimeProvider.System).RunAsync($"tcp://127.0.0.1:{proxy.Port}", sink, stopping.Token);
            await ZmqPeer.ArrivesAsync(sink.NextAsync(), () => publisher.SendAsync([], new byte[8], [7]), $"with {plan}");
            await stopping.CancelAsync();
            await running.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ContinueOnCapturedContext);
        }
    }

    [PeerTheory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_router_that_loses_the_event_plane_hears_it_again_and_the_others_all_the_time(bool isFromWorker)
    {
        await using var plane = new ZmqEventPlane(
            "127.0.0.1",
            null,
            ConnectionCap.Unlimited,
            TimeProvider.System,
            NullLogger<ZmqEventPlane>.Instance
        );
        await using var publisher = await plane.OpenAsync(Topic, CancellationToken.None);
        var port = new Uri(publisher.Transport!["config"]!["endpoint"]!.GetValue<string>()).Port;
        await using var undisturbed = ZmqPeer.Start("sub", $"tcp://127.0.0.1:{port}", "kv-events");
        var sent = 0UL;
        Task SendAsync() => publisher.PublishAsync(new EventMessage(++sent, new byte[40]), CancellationToken.None).AsTask();
        var first = undisturbed.ReadFramesAsync();
        await ZmqPeer.ArrivesAsync(first, SendAsync, "undisturbed");
        await using var proxy = FaultProxy.Start(port);
        foreach (var plan in Plans.Where(plan => !isFromWorker || plan.FlipAt is null)) // libzmq does not come back after a false greeting
        {
            Meet(proxy, plan, isFromWorker);
            await using var router = ZmqPeer.Start("sub", $"tcp://127.0.0.1:{proxy.Port}", "kv-events");
            await ZmqPeer.ArrivesAsync(router.ReadFramesAsync(), SendAsync, $"with {plan}");
        }

        for (var heard = SequenceIn(await first); heard < sent; heard++)
        {
            Assert.Equal(heard + 1, SequenceIn(await undisturbed.ReadFramesAsync()));
        }
    }

    private static ulong SequenceIn(byte[][] frames) => BinaryPrimitives.ReadUInt64BigEndian(frames[2]);

    private static void Meet(FaultProxy proxy, FaultPlan plan, bool isTowardsClient)
    {
        proxy.ToClient = isTowardsClient ? plan : FaultPlan.None;
        proxy.ToTarget = isTowardsClient ? FaultPlan.None : plan;
    }
}
