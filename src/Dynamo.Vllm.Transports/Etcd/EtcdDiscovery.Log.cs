using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Transports.Etcd;

public sealed partial class EtcdDiscovery
{
    [LoggerMessage(
        EventId = 3405,
        Level = LogLevel.Information,
        Message = "Joined etcd at {Addresses} with lease {Lease:x} of {Seconds} s"
    )]
    private static partial void LogJoined(ILogger logger, string addresses, long lease, double seconds);

    [LoggerMessage(
        EventId = 3406,
        Level = LogLevel.Warning,
        Message = "etcd at {Addresses} cannot be used yet ({Problem}); trying again in {Seconds:0.0} s"
    )]
    private static partial void LogWaiting(ILogger logger, string addresses, string problem, double seconds);

    [LoggerMessage(
        EventId = 3407,
        Level = LogLevel.Warning,
        Message = "etcd lease {Lease:x} is gone (expired, or revoked from outside); taking another"
    )]
    private static partial void LogLost(ILogger logger, long lease);

    [LoggerMessage(EventId = 3408, Level = LogLevel.Information, Message = "Joined etcd again with lease {Lease:x}")]
    private static partial void LogRejoined(ILogger logger, long lease);

    [LoggerMessage(EventId = 3409, Level = LogLevel.Information, Message = "Left etcd: lease {Lease:x} revoked")]
    private static partial void LogLeft(ILogger logger, long lease);

    [LoggerMessage(
        EventId = 3410,
        Level = LogLevel.Warning,
        Message = "Cannot revoke etcd lease {Lease:x} ({Problem}); its records expire within {Seconds} s"
    )]
    private static partial void LogCannotLeave(ILogger logger, long lease, double seconds, string problem);

    [LoggerMessage(EventId = 3411, Level = LogLevel.Warning, Message = "etcd: cannot {What} yet: {Problem}")]
    private static partial void LogRetrying(ILogger logger, string what, string problem);

    [LoggerMessage(
        EventId = 3412,
        Level = LogLevel.Debug,
        Message = "{Key} belongs to an identity that etcd has ended; it is registered again under the new one"
    )]
    private static partial void LogOutdated(ILogger logger, string key);

    [LoggerMessage(EventId = 3413, Level = LogLevel.Information, Message = "Wrote {Key}, which could not be written before")]
    private static partial void LogRepaired(ILogger logger, string key);

    [LoggerMessage(
        EventId = 3416,
        Level = LogLevel.Warning,
        Message = "Discovery record {Key} was removed by somebody else; it is written again"
    )]
    private static partial void LogRestored(ILogger logger, string key);

    [LoggerMessage(EventId = 3414, Level = LogLevel.Warning, Message = "etcd records are still not complete: {Problem}")]
    private static partial void LogCannotRepair(ILogger logger, string problem);

    [LoggerMessage(EventId = 3415, Level = LogLevel.Warning, Message = "A record under {Prefix} is no JSON and not looked at: {Problem}")]
    private static partial void LogUnreadable(ILogger logger, string prefix, string problem);
}
