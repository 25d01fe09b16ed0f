using Grpc.Core;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Transports.Etcd;

/// <summary>Asks etcd for leases until it grants one.</summary>
internal sealed partial class EtcdLeaseGrants(EtcdClient client, EtcdOptions options, TimeProvider time, ILogger logger)
{
    /// <exception cref="InvalidOperationException">Refused, or out of reach for longer than a start may take.</exception>
    public async Task<EtcdLease> AtStartAsync(CancellationToken cancellationToken)
    {
        var started = time.GetTimestamp();
        for (var failures = 1; ; failures++)
        {
            try
            {
                return await EtcdLease.GrantAsync(client, options, time, logger, cancellationToken).ConfigureAwait(false);
            }
            catch (RpcException exception)
            {
                if (!EtcdClient.IsWorthAnotherTry(exception))
                {
                    throw new InvalidOperationException(EtcdRefusal.Explain(exception, options), exception);
                }

                var wait = EtcdRetry.Wait(failures, options.RetryWaitMax);
                if (time.GetElapsedTime(started) + wait > options.StartupTimeLimit)
                {
                    throw new InvalidOperationException(
                        $"etcd discovery could not reach {client.Addresses} within {options.StartupTimeLimit.TotalSeconds:0.#} s "
                            + $"({EtcdClient.Describe(exception)}); check ETCD_ENDPOINTS and that etcd runs",
                        exception
                    );
                }

                LogWaiting(logger, client.Addresses, EtcdClient.Describe(exception), wait.TotalSeconds);
                await Task.Delay(wait, time, cancellationToken).ConfigureAwait(false);
            }
        }
    }

    /// <summary>Without an end: a worker that serves and is not seen is still worth more than none, and somebody reads the log.</summary>
    public async Task<EtcdLease> AgainAsync(CancellationToken cancellationToken)
    {
        for (var failures = 1; ; failures++)
        {
            try
            {
                return await EtcdLease.GrantAsync(client, options, time, logger, cancellationToken).ConfigureAwait(false);
            }
            catch (RpcException exception)
            {
                var wait = EtcdRetry.Wait(failures, options.RetryWaitMax);
                LogWaiting(logger, client.Addresses, EtcdClient.Describe(exception), wait.TotalSeconds);
                await Task.Delay(wait, time, cancellationToken).ConfigureAwait(false);
            }
        }
    }

    [LoggerMessage(
        EventId = 3406,
        Level = LogLevel.Warning,
        Message = "etcd at {Addresses} cannot be used yet ({Problem}); trying again in {Seconds:0.0} s"
    )]
    private static partial void LogWaiting(ILogger logger, string addresses, string problem, double seconds);
}
