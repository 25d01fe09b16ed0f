using Dynamo.Vllm.Transports.Etcd.Wire;
using Grpc.Core;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Transports.Etcd;

/// <summary>One lease: granted, renewed until the server says that it is gone, revoked.</summary>
/// <remarks>
/// Renewed after half of what remains, so that a failed renewal leaves time for others. A stream that breaks in between is noticed by the
/// read that is always pending on it, and the next member is asked at once. Whether a lease is lost is the server's word alone: a server
/// that was away (a restart, an election) gives leases their full time again, and our records with them are still there. Owned by one loop.
/// </remarks>
internal sealed partial class EtcdLease
{
    private readonly EtcdClient _client;
    private readonly EtcdOptions _options;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private TimeSpan _lifetime;
    private long _renewed;
    private volatile bool _isOverdue;

    private EtcdLease(EtcdClient client, EtcdOptions options, long id, TimeSpan lifetime, long granted, TimeProvider time, ILogger logger)
    {
        _client = client;
        _options = options;
        Id = id;
        _lifetime = lifetime;
        _renewed = granted;
        _time = time;
        _logger = logger;
    }

    public long Id { get; }

    /// <summary>Raised after each renewal, on the loop that runs <see cref="HoldAsync"/>.</summary>
    public event Action? Renewed;

    /// <summary>Not renewed before its deadline, and not known to be gone.</summary>
    public bool IsOverdue => _isOverdue;

    private TimeSpan Remaining => _lifetime - _time.GetElapsedTime(_renewed);

    public static async Task<EtcdLease> GrantAsync(
        EtcdClient client,
        EtcdOptions options,
        TimeProvider time,
        ILogger logger,
        CancellationToken cancellationToken
    )
    {
        var started = time.GetTimestamp();
        var seconds = Math.Max(1, (long)Math.Ceiling(options.LeaseLifetime.TotalSeconds));
        var answer = await client
            .CallAsync(
                (invoker, call) => new Lease.LeaseClient(invoker).LeaseGrantAsync(new LeaseGrantRequest { TTL = seconds }, call),
                cancellationToken
            )
            .ConfigureAwait(false);
        return answer.Error.Length > 0
            ? throw new RpcException(new Status(StatusCode.Unknown, answer.Error))
            : new EtcdLease(client, options, answer.ID, TimeSpan.FromSeconds(answer.TTL), started, time, logger);
    }

    public static async Task RevokeAsync(EtcdClient client, long id, CancellationToken cancellationToken)
    {
        try
        {
            await client
                .CallAsync(
                    (invoker, call) => new Lease.LeaseClient(invoker).LeaseRevokeAsync(new LeaseRevokeRequest { ID = id }, call),
                    cancellationToken
                )
                .ConfigureAwait(false);
        }
        catch (RpcException exception) when (exception.StatusCode == StatusCode.NotFound)
        {
            // Gone already, which is what was asked for.
        }
    }

    /// <summary>Names of the keys that are on the lease.</summary>
    public static async Task<IReadOnlySet<string>> KeysAsync(EtcdClient client, long id, CancellationToken cancellationToken)
    {
        var answer = await client
            .CallAsync(
                (invoker, call) =>
                    new Lease.LeaseClient(invoker).LeaseTimeToLiveAsync(new LeaseTimeToLiveRequest { ID = id, Keys = true }, call),
                cancellationToken
            )
            .ConfigureAwait(false);
        return answer.TTL <= 0
            ? throw new RpcException(new Status(StatusCode.NotFound, "the lease is gone"))
            : answer.Keys.Select(key => key.ToStringUtf8()).ToHashSet(StringComparer.Ordinal);
    }

    /// <summary>Keeps the lease until the server says that it is gone, and then returns.</summary>
    public async Task HoldAsync(CancellationToken cancellationToken)
    {
        for (var failures = 0; ; )
        {
            try
            {
                var renewedBefore = _renewed;
                if (!await RenewOnOneMemberAsync(cancellationToken).ConfigureAwait(false))
                {
                    return;
                }

                failures = _renewed == renewedBefore ? failures + 1 : 1;
            }
            catch (RpcException exception) when (exception.StatusCode == StatusCode.NotFound)
            {
                return;
            }
            catch (Exception exception)
                when (exception is RpcException or ObjectDisposedException && !cancellationToken.IsCancellationRequested)
            {
                failures++; // the client has said which member failed and why
            }

            ReportOverdue();
            await Task.Delay(WaitAfter(failures), _time, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Renews on one stream until that ends (true), or the lease does (false).</summary>
    private async Task<bool> RenewOnOneMemberAsync(CancellationToken cancellationToken)
    {
        var (call, member) = await _client.OpenKeepAliveAsync(cancellationToken).ConfigureAwait(false);
        using var ended = call;
        var answer = call.ResponseStream.MoveNext(cancellationToken);
        try
        {
            while (true)
            {
                var sent = _time.GetTimestamp();
                await call
                    .RequestStream.WriteAsync(new LeaseKeepAliveRequest { ID = Id }, cancellationToken)
                    .WaitAsync(AnswerTimeLimit(), _time, cancellationToken)
                    .ConfigureAwait(false);
                ThrowIfClosed(await answer.WaitAsync(AnswerTimeLimit(), _time, cancellationToken).ConfigureAwait(false));
                var granted = call.ResponseStream.Current;
                if (granted.TTL <= 0)
                {
                    return false;
                }

                NoteRenewal(sent, TimeSpan.FromSeconds(granted.TTL));

                // Pending through the pause, so that a connection that breaks, or whose pings go unanswered, is left at once.
                answer = call.ResponseStream.MoveNext(cancellationToken);
                if (await Task.WhenAny(answer, Task.Delay(Remaining / 2, _time, cancellationToken)).ConfigureAwait(false) == answer)
                {
                    ThrowIfClosed(await answer.ConfigureAwait(false));
                    answer = call.ResponseStream.MoveNext(cancellationToken); // an answer that nobody asked for
                }

                cancellationToken.ThrowIfCancellationRequested();
            }
        }
        catch (Exception exception) when (exception is RpcException or TimeoutException && !cancellationToken.IsCancellationRequested)
        {
            var reason = exception is TimeoutException ? new TimeoutException("a renewal was not answered in time") : exception;
            _client.Leave(member, reason);
            return true;
        }
        finally
        {
            _ = answer.ContinueWith(static task => task.Exception, TaskScheduler.Default); // seen, whatever became of it
        }
    }

    private static void ThrowIfClosed(bool isOpen)
    {
        if (!isOpen)
        {
            throw new RpcException(new Status(StatusCode.Unavailable, "the renewal stream was closed"));
        }
    }

    private void NoteRenewal(long sent, TimeSpan lifetime)
    {
        // Counted from before the request: the server's own clock started no earlier.
        _renewed = sent;
        _lifetime = lifetime;
        if (_isOverdue)
        {
            _isOverdue = false;
            LogSurvived(_logger, Id);
        }

        Renewed?.Invoke();
    }

    /// <summary>Half of what remains, so that another member can still be asked; once that is over, as long as any call.</summary>
    private TimeSpan AnswerTimeLimit()
    {
        var half = Remaining / 2;
        return half > TimeSpan.Zero && half < _options.CallTimeLimit ? half : _options.CallTimeLimit;
    }

    /// <summary>At once at first, then slower; never so slow that the deadline passes between two tries.</summary>
    private TimeSpan WaitAfter(int failures)
    {
        var wait = EtcdRetry.Wait(failures, _options.RetryWaitMax) / 10;
        var remaining = Remaining;
        return remaining > TimeSpan.Zero && wait > remaining / 4 ? remaining / 4 : wait;
    }

    private void ReportOverdue()
    {
        if (!_isOverdue && Remaining <= TimeSpan.Zero)
        {
            _isOverdue = true;
            LogOverdue(_logger, Id, _client.Addresses);
        }
    }

    [LoggerMessage(
        EventId = 3403,
        Level = LogLevel.Error,
        Message = "etcd lease {Lease:x} could not be renewed before its deadline: routers may have lost this worker. "
            + "Still trying {Addresses}"
    )]
    private static partial void LogOverdue(ILogger logger, long lease, string addresses);

    [LoggerMessage(
        EventId = 3404,
        Level = LogLevel.Information,
        Message = "etcd lease {Lease:x} outlived the outage; its records are still there"
    )]
    private static partial void LogSurvived(ILogger logger, long lease);
}
