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
    private EtcdClient? _client;
    private EtcdLeaseRecords? _records;
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

    private EtcdLeaseRecords Records => _records ?? throw new InvalidOperationException("not joined");

    private EtcdClient Client => _client ?? throw new InvalidOperationException("not joined");

    public async Task<InstanceId> JoinAsync(CancellationToken cancellationToken)
    {
        var client = _client = new EtcdClient(_options, _time, _logger);
        _records = new EtcdLeaseRecords(client, () => Volatile.Read(ref _leaseId), _options, _time, _logger);
        var grants = new EtcdLeaseGrants(client, _options, _time, _logger);
        var lease = await grants.AtStartAsync(cancellationToken).ConfigureAwait(false);
        Adopt(lease);
        LogJoined(_logger, client.Addresses, lease.Id, _options.LeaseLifetime.TotalSeconds);
        _holding = Task.Run(() => HoldAsync(grants, lease), CancellationToken.None);
        return new InstanceId((ulong)lease.Id);
    }

    public Task RegisterAsync(DiscoveryRecord record, CancellationToken cancellationToken) =>
        Records.RegisterAsync(record, cancellationToken);

    public Task UnregisterAsync(DiscoveryRecord record, CancellationToken cancellationToken) =>
        Records.UnregisterAsync(record, cancellationToken);

    public Task<IReadOnlyList<JsonObject>> ListAsync(string bucket, string keyPrefix, CancellationToken cancellationToken) =>
        Records.ListAsync(bucket, keyPrefix, cancellationToken);

    public Task<DateTimeOffset?> ReadClockAsync(CancellationToken cancellationToken) => Client.ReadClockAsync(cancellationToken);

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

    private async Task HoldAsync(EtcdLeaseGrants grants, EtcdLease lease)
    {
        var stopping = _stopping.Token;
        try
        {
            while (true)
            {
                await lease.HoldAsync(stopping).ConfigureAwait(false);
                _lease = null;
                LogLost(_logger, lease.Id);
                lease = await grants.AgainAsync(stopping).ConfigureAwait(false);
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

    private void Adopt(EtcdLease lease)
    {
        Volatile.Write(ref _leaseId, lease.Id);
        _lease = lease;
        lease.Renewed += OnRenewed;
    }

    private void OnRenewed() => _ = Records.RepairAsync(_stopping.Token);

    [LoggerMessage(
        EventId = 3405,
        Level = LogLevel.Information,
        Message = "Joined etcd at {Addresses} with lease {Lease:x} of {Seconds} s"
    )]
    private static partial void LogJoined(ILogger logger, string addresses, long lease, double seconds);

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
}
