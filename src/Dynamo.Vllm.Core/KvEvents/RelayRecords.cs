using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.Discovery;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Core.KvEvents;

/// <summary>What the relay has in the discovery store, to be taken back in reverse.</summary>
/// <remarks>One caller.</remarks>
internal sealed partial class RelayRecords(WorkerRegistration registration, ILogger logger)
{
    private readonly Stack<Func<CancellationToken, Task>> _undo = new();

    public Task PutAsync(string name, Func<InstanceId, DiscoveryRecord> record, CancellationToken cancellationToken)
    {
        _undo.Push(token => registration.RemoveAsync(name, token)); // first: a write that failed can still have arrived
        return registration.PutAsync(name, record, cancellationToken);
    }

    public Task ServeAsync(ServedEndpoint endpoint, CancellationToken cancellationToken)
    {
        _undo.Push(token => registration.WithdrawAsync(endpoint, token));
        return registration.ServeAsync(endpoint, cancellationToken);
    }

    /// <summary>Goes on after a failure.</summary>
    public async Task WithdrawAsync(CancellationToken cancellationToken)
    {
        while (_undo.TryPop(out var undo))
        {
            try
            {
                await undo(cancellationToken);
            }
            catch (Exception exception) when (exception is not OutOfMemoryException)
            {
                // Best-effort cleanup (style E3): an unreachable store must not keep the rest from ending.
                LogCannotWithdraw(logger, exception);
            }
        }
    }

    [LoggerMessage(EventId = 2433, Level = LogLevel.Warning, Message = "Cannot withdraw a KV routing record; it will expire")]
    private static partial void LogCannotWithdraw(ILogger logger, Exception exception);
}
