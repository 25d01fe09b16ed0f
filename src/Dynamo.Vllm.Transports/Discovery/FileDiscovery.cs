using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Protocol.Discovery;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Transports.Discovery;

/// <summary>Records as files under a shared directory (discovery.md, 4).</summary>
/// <remarks>
/// A record appears by link or rename, never by writing its final name, since watchers read it at that moment. Every third of the lifetime
/// own files are touched, others that are too old are removed, and own files that somebody removed are written again, which the reference
/// does not do. A failure with one file never keeps the others from being touched. A bucket whose lock is held for too long (by a stopped
/// peer, say) is written without it: link, rename and unlink are atomic, so that the lock only orders peers.
/// Golden files: tests/golden/runtime/file_store_contents.json, file_store_tree.txt.
/// </remarks>
public sealed partial class FileDiscovery : IDiscovery
{
    private readonly string _root;
    private readonly TimeProvider _time;
    private readonly ILogger<FileDiscovery> _logger;
    private readonly CancellationTokenSource _stopping = new();
    private readonly SemaphoreSlim _writing = new(1, 1);
    private readonly FileRecords _records; // this and the next are used under _writing
    private readonly Dictionary<string, byte[]> _owned = [];
    private Task _keepingAlive = Task.CompletedTask;
    private bool _isBroken;

    public FileDiscovery(string root, TimeProvider time, ILogger<FileDiscovery> logger)
    {
        _root = root;
        _time = time;
        _logger = logger;
        _records = new FileRecords(time, logger);
    }

    public event Action<InstanceId>? IdentityChanged
    {
        add { }
        remove { } // the identity lives as long as the process
    }

    public string Name => "file";

    public JsonObject? Metadata => null;

    public Task<InstanceId> JoinAsync(CancellationToken cancellationToken)
    {
        try
        {
            Directory.CreateDirectory(_root);
            FileRecords.Probe(_root);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new InvalidOperationException($"file discovery cannot use {_root} ({exception.Message}); set DYN_FILE_KV", exception);
        }

        _keepingAlive = Task.Run(() => KeepAliveAsync(_stopping.Token), cancellationToken);
        return Task.FromResult(MemoryDiscovery.RandomInstance());
    }

    public Task RegisterAsync(DiscoveryRecord record, CancellationToken cancellationToken)
    {
        var content = Encoding.UTF8.GetBytes(record.Value.ToJsonString());
        var path = PathOf(record);
        return InTurnAsync(
            async () =>
            {
                await _records.WriteAsync(path, content, cancellationToken).ConfigureAwait(false);
                _owned[path] = content;
            },
            cancellationToken
        );
    }

    public Task UnregisterAsync(DiscoveryRecord record, CancellationToken cancellationToken)
    {
        var path = PathOf(record);
        return InTurnAsync(
            async () =>
            {
                _owned.Remove(path); // first: a file that cannot be deleted now must at least grow old
                await _records.DeleteAsync(path, cancellationToken).ConfigureAwait(false);
            },
            cancellationToken
        );
    }

    public Task LeaveAsync(CancellationToken cancellationToken) =>
        InTurnAsync(
            async () =>
            {
                string[] paths = [.. _owned.Keys];
                _owned.Clear();
                foreach (var path in paths)
                {
                    try
                    {
                        await _records.DeleteAsync(path, cancellationToken).ConfigureAwait(false);
                    }
                    catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
                    {
                        LogCannotDelete(_logger, path, exception.Message); // best-effort cleanup (style E3): the rest must go, too
                    }
                }
            },
            cancellationToken
        );

    public async Task<IReadOnlyList<JsonObject>> ListAsync(string bucket, string keyPrefix, CancellationToken cancellationToken)
    {
        var folder = Path.Combine(_root, bucket);
        var found = new List<JsonObject>();
        if (!Directory.Exists(folder))
        {
            return found;
        }

        try
        {
            // Records whose processes are gone stay until somebody looks after the bucket (discovery.md, 4); such ones are not believed.
            var limit = _time.GetUtcNow().UtcDateTime - FileRecords.Lifetime;
            var prefix = FileNames.Escape(keyPrefix);
            foreach (
                var file in new DirectoryInfo(folder)
                    .EnumerateFiles()
                    .Where(file => file.Name.StartsWith(prefix, StringComparison.Ordinal) && file.LastWriteTimeUtc >= limit)
            )
            {
                if (await ReadAsync(file.FullName, cancellationToken).ConfigureAwait(false) is { } value)
                {
                    found.Add(value);
                }
            }
        }
        catch (UnauthorizedAccessException exception)
        {
            throw new IOException($"file discovery cannot read {folder} ({exception.Message})", exception);
        }

        return found;
    }

    public Task<DateTimeOffset?> ReadClockAsync(CancellationToken cancellationToken)
    {
        try
        {
            return Task.FromResult<DateTimeOffset?>(FileRecords.Probe(_root));
        }
        catch (UnauthorizedAccessException exception)
        {
            throw new IOException(exception.Message, exception);
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _stopping.CancelAsync().ConfigureAwait(false);
        await _keepingAlive.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    private string PathOf(DiscoveryRecord record) => Path.Combine(_root, record.Bucket, FileNames.Escape(record.Key));

    private async Task InTurnAsync(Func<Task> change, CancellationToken cancellationToken)
    {
        await _writing.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            await change().ConfigureAwait(false);
        }
        finally
        {
            _writing.Release();
        }
    }

    private async Task<JsonObject?> ReadAsync(string path, CancellationToken cancellationToken)
    {
        try
        {
            return JsonNode.Parse(await File.ReadAllTextAsync(path, cancellationToken).ConfigureAwait(false)) as JsonObject;
        }
        catch (Exception exception) when (exception is FileNotFoundException or DirectoryNotFoundException)
        {
            return null; // withdrawn in between
        }
        catch (JsonException exception)
        {
            LogUnreadable(_logger, path, exception.Message);
            return null;
        }
    }

    private async Task KeepAliveAsync(CancellationToken cancellationToken)
    {
        using var timer = new PeriodicTimer(FileRecords.Lifetime / 3, _time);
        try
        {
            while (await timer.WaitForNextTickAsync(cancellationToken).ConfigureAwait(false))
            {
                await TickAsync(cancellationToken).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            // Normal stop.
        }
    }

    private async Task TickAsync(CancellationToken cancellationToken)
    {
        string? problem = null;
        await InTurnAsync(
                async () =>
                {
                    foreach (var (path, content) in _owned.ToArray())
                    {
                        problem =
                            await TryAsync(() => _records.TouchAsync(path, content, cancellationToken)).ConfigureAwait(false) ?? problem;
                    }

                    foreach (var bucket in _records.Buckets.Where(Directory.Exists).ToArray())
                    {
                        problem = await TryAsync(() => _records.ExpireAsync(bucket, cancellationToken)).ConfigureAwait(false) ?? problem;
                    }
                },
                cancellationToken
            )
            .ConfigureAwait(false);
        Report(problem);
    }

    /// <summary>Runs one step; a store that is away for a while must find us when it is back (style E3, loop supervision).</summary>
    private static async Task<string?> TryAsync(Func<Task> step)
    {
        try
        {
            await step().ConfigureAwait(false);
            return null;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return exception.Message;
        }
    }

    /// <summary>Once for each outage, and once when it is over.</summary>
    private void Report(string? problem)
    {
        if (problem is not null && !_isBroken)
        {
            LogBroken(_logger, _root, problem);
        }
        else if (problem is null && _isBroken)
        {
            LogRecovered(_logger, _root);
        }

        _isBroken = problem is not null;
    }

    [LoggerMessage(
        EventId = 3101,
        Level = LogLevel.Error,
        Message = "File discovery at {Root} does not work: {Problem}. Trying again every 3 s"
    )]
    private static partial void LogBroken(ILogger logger, string root, string problem);

    [LoggerMessage(EventId = 3102, Level = LogLevel.Information, Message = "File discovery at {Root} works again")]
    private static partial void LogRecovered(ILogger logger, string root);

    [LoggerMessage(EventId = 3107, Level = LogLevel.Warning, Message = "Discovery record {Path} is no JSON and not looked at: {Problem}")]
    private static partial void LogUnreadable(ILogger logger, string path, string problem);

    [LoggerMessage(
        EventId = 3106,
        Level = LogLevel.Warning,
        Message = "Cannot delete discovery record {Path}, which will expire: {Problem}"
    )]
    private static partial void LogCannotDelete(ILogger logger, string path, string problem);
}
