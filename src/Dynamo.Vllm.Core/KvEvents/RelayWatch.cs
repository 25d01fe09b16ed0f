using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Core.KvEvents;

/// <summary>Looks at intervals whether each rank's events arrive, and how many of ours subscribers lost.</summary>
internal sealed partial class RelayWatch(
    IReadOnlyCollection<RankSelfTest> selfTests,
    IReadOnlyCollection<EventStream> streams,
    KvRelayMetrics metrics,
    TimeProvider time,
    ILogger logger
)
{
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        using var timer = new PeriodicTimer(RankSelfTest.Interval, time);
        while (await timer.WaitForNextTickAsync(cancellationToken))
        {
            foreach (var test in selfTests)
            {
                test.Relay.Metrics.IndexBlocks.Set(test.Relay.Log.BlockCount);
                if (test.IsSilent())
                {
                    test.Relay.Metrics.Silent.Inc();
                    LogSilent(logger, test.Relay.Rank, test.Relay.Endpoint);
                }
            }

            foreach (var topic in streams.GroupBy(stream => stream.Topic.Name))
            {
                metrics.SubscriberDrops(topic.Key, topic.Sum(stream => stream.Dropped));
            }
        }
    }

    [LoggerMessage(
        EventId = 2435,
        Level = LogLevel.Error,
        Message = "Rank {Rank}: THE ENGINE CACHES BLOCKS BUT SENDS NO KV EVENTS (subscribed to {Endpoint}); KV-aware routing to this "
            + "rank does not work. Check --kv-events-config, and that no other process owns the port"
    )]
    private static partial void LogSilent(ILogger logger, int rank, string endpoint);
}
