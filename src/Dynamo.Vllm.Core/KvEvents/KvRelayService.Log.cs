using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Core.KvEvents;

/// <content>Log messages.</content>
public sealed partial class KvRelayService
{
    [LoggerMessage(
        EventId = 2430,
        Level = LogLevel.Information,
        Message = "KV routing: subscribing to {Subscribed}; publishing {Topics} on {Plane} for {Ranks} ranks"
    )]
    private static partial void LogStarted(ILogger logger, string subscribed, string topics, string plane, int ranks);

    [LoggerMessage(
        EventId = 2431,
        Level = LogLevel.Warning,
        Message = "Rank {Rank}: still not connected to the engine's KV events at {Endpoint} after {Seconds} s; requests are served, "
            + "but routers do not see this cache"
    )]
    private static partial void LogNotConnected(ILogger logger, int rank, string endpoint, double seconds);

    [LoggerMessage(
        EventId = 2432,
        Level = LogLevel.Warning,
        Message = "Rank {Rank}: the recovery endpoint cannot be served; routers lose this cache at each message they miss"
    )]
    private static partial void LogNoRecovery(ILogger logger, int rank, Exception exception);

    [LoggerMessage(EventId = 2433, Level = LogLevel.Warning, Message = "Cannot withdraw a KV routing record; it will expire")]
    private static partial void LogCannotWithdraw(ILogger logger, Exception exception);

    [LoggerMessage(EventId = 2434, Level = LogLevel.Error, Message = "KV routing: the loop '{Name}' failed and is started again")]
    private static partial void LogLoopFailed(ILogger logger, string name, Exception exception);

    [LoggerMessage(
        EventId = 2435,
        Level = LogLevel.Error,
        Message = "Rank {Rank}: THE ENGINE CACHES BLOCKS BUT SENDS NO KV EVENTS (subscribed to {Endpoint}); KV-aware routing to this "
            + "rank does not work. Check --kv-events-config, and that no other process owns the port"
    )]
    private static partial void LogSilent(ILogger logger, int rank, string endpoint);
}
