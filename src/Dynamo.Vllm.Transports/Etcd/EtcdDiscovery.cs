using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Protocol.Discovery;
using Google.Protobuf;
using Grpc.Core;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Transports.Etcd;

/// <summary>Records in etcd, all on one lease whose id is the identity of this process (discovery.md, 3).</summary>
/// <remarks>
/// One loop holds the lease. When the server says that it is gone, the loop takes another and raises <see cref="IdentityChanged"/>; the
/// reference shuts down instead. A record of an earlier identity that arrives in between is not written: its owner registers it again under
/// the new one. A record that could not be written, or that somebody removed, is written again after a renewal. Golden files:
/// tests/golden/runtime/etcd_dump_tcp.txt, etcd_instances_nats.txt.
/// </remarks>
public sealed partial class EtcdDiscovery : IDiscovery
{
    private readonly EtcdOptions _options;
    private readonly TimeProvider _time;
    private readonly ILogger<EtcdDiscovery> _logger;
    private readonly CancellationTokenSource _stopping = new();
    private readonly SemaphoreSlim _writing = new(1, 1);
    private readonly Dictionary<string, DiscoveryRecord> _unwritten = []; // guarded by _writing
    private readonly Dictionary<string, DiscoveryRecord> _written = []; // guarded by _writing
    private EtcdClient? _client;
    private Task _holding = Task.CompletedTask;
    private volatile EtcdLease? _lease; // null: the last one is gone, and there is no other yet
    private long _leaseId;
    private bool _hasLeft;

    public EtcdDiscovery(EtcdOptions options, TimeProvider time, ILogger<EtcdDiscovery> logger)
    {
        _options = options;
        _time = time;
        _logger = logger;
    }

    public event Action<InstanceId>? IdentityChanged;

    public string Name => "etcd";

    public JsonObject? Metadata => null;

    public string? Hindrance =>
        _client is not null && _lease is null or { IsOverdue: true }
            ? $"the lease in etcd at {Client.Addresses} could not be renewed: routers may have lost this worker"
            : null;

    private EtcdClient Client => _client ?? throw new InvalidOperationException("not joined");

    public async Task<InstanceId> JoinAsync(CancellationToken cancellationToken)
    {
        var client = _client = new EtcdClient(_options, _time, _logger);
        var lease = await GrantAtStartAsync(client, cancellationToken).ConfigureAwait(false);
        Adopt(lease);
        LogJoined(_logger, client.Addresses, lease.Id, _options.LeaseLifetime.TotalSeconds);
        _holding = Task.Run(() => HoldAsync(client, lease), CancellationToken.None);
        return new InstanceId((ulong)lease.Id);
    }

    public async Task RegisterAsync(DiscoveryRecord record, CancellationToken cancellationToken)
    {
        if (IsOfAnotherIdentity(record))
        {
            LogOutdated(_logger, record.FullKey);
            return;
        }

        await _writing.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            _unwritten[record.FullKey] = record;
            await RetryAsync($"write {record.FullKey}", token => PutAsync(record, token), cancellationToken).ConfigureAwait(false);
            NoteWritten(record);
        }
        finally
        {
            _writing.Release();
        }
    }

    public async Task UnregisterAsync(DiscoveryRecord record, CancellationToken cancellationToken)
    {
        await _writing.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            _unwritten.Remove(record.FullKey);
            _written.Remove(record.FullKey);
            await RetryAsync($"delete {record.FullKey}", token => EtcdRecords.DeleteAsync(Client, record.FullKey, token), cancellationToken)
                .ConfigureAwait(false);
        }
        finally
        {
            _writing.Release();
        }
    }

    public async Task LeaveAsync(CancellationToken cancellationToken)
    {
        await StopHoldingAsync().ConfigureAwait(false);
        if (_client is null || _hasLeft)
        {
            return;
        }

        try
        {
            await EtcdLease.RevokeAsync(Client, _leaseId, cancellationToken).ConfigureAwait(false);
            _hasLeft = true;
            LogLeft(_logger, _leaseId);
        }
        catch (RpcException exception)
        {
            // Best-effort cleanup (style E3): the lease runs out by itself.
            LogCannotLeave(_logger, _leaseId, _options.LeaseLifetime.TotalSeconds, EtcdClient.Describe(exception));
        }
    }

    public async Task<IReadOnlyList<JsonObject>> ListAsync(string bucket, string keyPrefix, CancellationToken cancellationToken)
    {
        var prefix = $"{bucket}/{keyPrefix}";
        IReadOnlyList<ByteString> values = [];
        await _writing.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            await RetryAsync(
                    $"read {prefix}",
                    async token => values = await EtcdRecords.ListAsync(Client, prefix, token).ConfigureAwait(false),
                    cancellationToken
                )
                .ConfigureAwait(false);
        }
        finally
        {
            _writing.Release();
        }

        return [.. values.Select(value => Parse(prefix, value)).OfType<JsonObject>()];
    }

    public async ValueTask DisposeAsync()
    {
        await StopHoldingAsync().ConfigureAwait(false);
        _client?.Dispose();
    }

    private async Task StopHoldingAsync()
    {
        await _stopping.CancelAsync().ConfigureAwait(false);
        await _holding.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    private async Task<EtcdLease> GrantAtStartAsync(EtcdClient client, CancellationToken cancellationToken)
    {
        var started = _time.GetTimestamp();
        for (var failures = 1; ; failures++)
        {
            try
            {
                return await EtcdLease.GrantAsync(client, _options, _time, _logger, cancellationToken).ConfigureAwait(false);
            }
            catch (RpcException exception)
            {
                if (!EtcdClient.IsWorthAnotherTry(exception))
                {
                    throw new InvalidOperationException(Refusal(exception), exception);
                }

                var wait = EtcdRetry.Wait(failures, _options.RetryWaitMax);
                if (_time.GetElapsedTime(started) + wait > _options.StartupTimeLimit)
                {
                    throw new InvalidOperationException(
                        $"etcd discovery could not reach {client.Addresses} within {_options.StartupTimeLimit.TotalSeconds:0.#} s "
                            + $"({EtcdClient.Describe(exception)}); check ETCD_ENDPOINTS and that etcd runs",
                        exception
                    );
                }

                LogWaiting(_logger, client.Addresses, EtcdClient.Describe(exception), wait.TotalSeconds);
                await Task.Delay(wait, _time, cancellationToken).ConfigureAwait(false);
            }
        }
    }

    private string Refusal(RpcException exception) =>
        exception.StatusCode switch
        {
            StatusCode.InvalidArgument or StatusCode.Unauthenticated when _options.Login is { } login =>
                $"etcd refused the login of '{login.User}' ({exception.Status.Detail}); check ETCD_AUTH_USERNAME and ETCD_AUTH_PASSWORD",
            StatusCode.InvalidArgument => $"etcd wants a login ({exception.Status.Detail}); set ETCD_AUTH_USERNAME and ETCD_AUTH_PASSWORD",
            StatusCode.PermissionDenied =>
                $"etcd does not let this worker do its work ({exception.Status.Detail}); its user needs read and write on the prefix 'v1/'",
            StatusCode.ResourceExhausted => $"etcd has no room ({exception.Status.Detail}); compact and defragment it, and clear its alarm",
            _ => $"etcd refused: {EtcdClient.Describe(exception)}",
        };

    private async Task HoldAsync(EtcdClient client, EtcdLease lease)
    {
        var stopping = _stopping.Token;
        try
        {
            while (true)
            {
                await lease.HoldAsync(stopping).ConfigureAwait(false);
                _lease = null;
                LogLost(_logger, lease.Id);
                lease = await GrantAgainAsync(client, stopping).ConfigureAwait(false);
                Adopt(lease);
                LogRejoined(_logger, lease.Id);
                IdentityChanged?.Invoke(new InstanceId((ulong)lease.Id));
            }
        }
        catch (OperationCanceledException) when (stopping.IsCancellationRequested)
        {
            // Normal stop.
        }
    }

    private async Task<EtcdLease> GrantAgainAsync(EtcdClient client, CancellationToken cancellationToken)
    {
        for (var failures = 1; ; failures++)
        {
            try
            {
                return await EtcdLease.GrantAsync(client, _options, _time, _logger, cancellationToken).ConfigureAwait(false);
            }
            catch (RpcException exception)
            {
                // Without an end: a worker that serves and is not seen is still worth more than none, and somebody reads the log.
                var wait = EtcdRetry.Wait(failures, _options.RetryWaitMax);
                LogWaiting(_logger, client.Addresses, EtcdClient.Describe(exception), wait.TotalSeconds);
                await Task.Delay(wait, _time, cancellationToken).ConfigureAwait(false);
            }
        }
    }

    private void Adopt(EtcdLease lease)
    {
        Volatile.Write(ref _leaseId, lease.Id);
        _lease = lease;
        lease.Renewed += OnRenewed;
    }

    private void OnRenewed() => _ = RepairAsync();

    /// <summary>Writes what could not be written before, and what is not there any more.</summary>
    private async Task RepairAsync()
    {
        if (!await _writing.WaitAsync(0, CancellationToken.None).ConfigureAwait(false))
        {
            return; // its owner is at work; the next renewal looks again
        }

        try
        {
            foreach (var (key, record) in _unwritten.ToArray())
            {
                if (!IsOfAnotherIdentity(record))
                {
                    await PutAsync(record, _stopping.Token).ConfigureAwait(false);
                    LogRepaired(_logger, key);
                }

                NoteWritten(record);
            }

            await RestoreAsync(_stopping.Token).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is RpcException or OperationCanceledException or IOException)
        {
            LogCannotRepair(_logger, exception.Message);
        }
        finally
        {
            _writing.Release();
        }
    }

    private async Task RestoreAsync(CancellationToken cancellationToken)
    {
        var present = await EtcdLease.KeysAsync(Client, Volatile.Read(ref _leaseId), cancellationToken).ConfigureAwait(false);
        foreach (var (key, record) in _written.Where(pair => !present.Contains(pair.Key)).ToArray())
        {
            if (IsOfAnotherIdentity(record))
            {
                _written.Remove(key); // its owner registers it again under the new one
                continue;
            }

            LogRestored(_logger, key);
            await PutAsync(record, cancellationToken).ConfigureAwait(false);
        }
    }

    private void NoteWritten(DiscoveryRecord record)
    {
        _unwritten.Remove(record.FullKey);
        _written[record.FullKey] = record;
    }

    private JsonObject? Parse(string prefix, ByteString value)
    {
        try
        {
            return JsonNode.Parse(value.Span) as JsonObject;
        }
        catch (JsonException exception)
        {
            LogUnreadable(_logger, prefix, exception.Message);
            return null;
        }
    }

    private Task PutAsync(DiscoveryRecord record, CancellationToken cancellationToken) =>
        EtcdRecords.PutAsync(
            Client,
            record.FullKey,
            ByteString.CopyFromUtf8(record.Value.ToJsonString()),
            Volatile.Read(ref _leaseId),
            cancellationToken
        );

    /// <summary>Endpoints and models carry the identity of their process; event records that of their publisher.</summary>
    private bool IsOfAnotherIdentity(DiscoveryRecord record) =>
        record.Bucket is DiscoveryRecord.Instances or DiscoveryRecord.ModelCards
        && record.Value["instance_id"] is { } id
        && id.GetValue<ulong>() != (ulong)Volatile.Read(ref _leaseId);

    /// <summary>For as long as a lease lives; after that it is tried again with each renewal.</summary>
    private async Task RetryAsync(string what, Func<CancellationToken, Task> change, CancellationToken cancellationToken)
    {
        var started = _time.GetTimestamp();
        for (var failures = 1; ; failures++)
        {
            try
            {
                await change(cancellationToken).ConfigureAwait(false);
                return;
            }
            catch (RpcException exception) when (!EtcdClient.IsWorthAnotherTry(exception) && exception.StatusCode != StatusCode.NotFound)
            {
                throw new IOException($"etcd: cannot {what}: {Refusal(exception)}", exception);
            }
            catch (RpcException exception) when (_unwritten.Count > 1 || _time.GetElapsedTime(started) >= _options.LeaseLifetime)
            {
                // Where another record is late already, this one need not wait as long to find out the same.
                throw new IOException($"etcd: cannot {what}: {EtcdClient.Describe(exception)}", exception);
            }
            catch (RpcException exception)
            {
                // NotFound: the lease has just gone, and the loop is about to have another.
                LogRetrying(_logger, what, EtcdClient.Describe(exception));
                await Task.Delay(EtcdRetry.Wait(failures, _options.RetryWaitMax / 10), _time, cancellationToken).ConfigureAwait(false);
            }
        }
    }
}
