using Dynamo.Vllm.Engine.Guest;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Engine.Requests;

/// <summary>Those of a stream whose request the guest has.</summary>
internal sealed partial class StreamCommands(GuestMailbox mailbox, ILogger logger) : IStreamCommands
{
    public void Abort(ulong stream) => mailbox.TryPost(GuestOperation.Abort, stream, default, default, isUrgent: true);

    public void ReportSlowReader(ulong stream, int pending) => LogSlowReader(logger, stream, pending);

    [LoggerMessage(
        EventId = 4004,
        Level = LogLevel.Warning,
        Message = "Stream {Stream} is not being read: {Pending} outputs wait; aborting it"
    )]
    private static partial void LogSlowReader(ILogger logger, ulong stream, int pending);
}
