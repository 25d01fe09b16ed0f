using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol.Discovery;
using Google.Protobuf;
using Grpc.Core;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Transports.Etcd;

/// <summary>The records on the lease: written, and written again where they could not be, or are not there any more.</summary>
/// <remarks>Thread-safe; one change after the other.</remarks>
/// <param name="client">Connection.</param>
/// <param name="leaseId">The lease at this moment.</param>
/// <param name="options">Limits.</param>
/// <param name="time">Clock.</param>
/// <param name="logger">Log.</param>
internal sealed partial class EtcdLeaseRecords(
    EtcdClient client,
    Func<long> leaseId,
    EtcdOptions options,
    TimeProvider time,
    ILogger logger
)
{
    private readonly SemaphoreSlim _writing = new(1, 1);
    private readonly Dictionary<string, DiscoveryRecord> _unwritten = []; // guarded by _writing
    private readonly Dictionary<string, DiscoveryRecord> _written = []; // guarded by _writing

    public async Task RegisterAsync(DiscoveryRecord record, CancellationToken cancellationToken)
    {
        if (IsOfAnotherIdentity(record))
        {
            LogOutdated(logger, record.FullKey);
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
            await RetryAsync($"delete {record.FullKey}", token => EtcdRecords.DeleteAsync(client, record.FullKey, token), cancellationToken)
                .ConfigureAwait(false);
        }
        finally
        {
            _writing.Release();
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
                    async token => values = await EtcdRecords.ListAsync(client, prefix, token).ConfigureAwait(false),
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

    /// <summary>Writes what could not be written before, and what is not there any more.</summary>
    public async Task RepairAsync(CancellationToken cancellationToken)
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
                    await PutAsync(record, cancellationToken).ConfigureAwait(false);
                    LogRepaired(logger, key);
                }

                NoteWritten(record);
            }

            await RestoreAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is RpcException or OperationCanceledException or IOException)
        {
            LogCannotRepair(logger, exception.Message);
        }
        finally
        {
            _writing.Release();
        }
    }

    private async Task RestoreAsync(CancellationToken cancellationToken)
    {
        var present = await EtcdLease.KeysAsync(client, leaseId(), cancellationToken).ConfigureAwait(false);
        foreach (var (key, record) in _written.Where(pair => !present.Contains(pair.Key)).ToArray())
        {
            if (IsOfAnotherIdentity(record))
            {
                _written.Remove(key); // its owner registers it again under the new one
                continue;
            }

            LogRestored(logger, key);
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
            LogUnreadable(logger, prefix, exception.Message);
            return null;
        }
    }

    private Task PutAsync(DiscoveryRecord record, CancellationToken cancellationToken) =>
        EtcdRecords.PutAsync(client, record.FullKey, ByteString.CopyFromUtf8(record.Value.ToJsonString()), leaseId(), cancellationToken);

    /// <summary>Endpoints and models carry the identity of their process; event records that of their publisher.</summary>
    private bool IsOfAnotherIdentity(DiscoveryRecord record) =>
        record.Bucket is DiscoveryRecord.Instances or DiscoveryRecord.ModelCards
        && record.Value["instance_id"] is { } id
        && id.GetValue<ulong>() != (ulong)leaseId();

    /// <summary>For as long as a lease lives; after that it is tried again with each renewal.</summary>
    private async Task RetryAsync(string what, Func<CancellationToken, Task> change, CancellationToken cancellationToken)
    {
        var started = time.GetTimestamp();
        for (var failures = 1; ; failures++)
        {
            try
            {
                await change(cancellationToken).ConfigureAwait(false);
                return;
            }
            catch (RpcException exception) when (!EtcdClient.IsWorthAnotherTry(exception) && exception.StatusCode != StatusCode.NotFound)
            {
                throw new IOException($"etcd: cannot {what}: {EtcdRefusal.Explain(exception, options)}", exception);
            }
            catch (RpcException exception) when (_unwritten.Count > 1 || time.GetElapsedTime(started) >= options.LeaseLifetime)
            {
                // Where another record is late already, this one need not wait as long to find out the same.
                throw new IOException($"etcd: cannot {what}: {EtcdClient.Describe(exception)}", exception);
            }
            catch (RpcException exception)
            {
                // NotFound: the lease has just gone, and the loop is about to have another.
                LogRetrying(logger, what, EtcdClient.Describe(exception));
                await Task.Delay(EtcdRetry.Wait(failures, options.RetryWaitMax / 10), time, cancellationToken).ConfigureAwait(false);
            }
        }
    }

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
