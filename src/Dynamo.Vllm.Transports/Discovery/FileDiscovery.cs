using System.Security.Cryptography;
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
    /// <summary>Age at which any peer may remove a file. Fixed in the reference's code and stored nowhere.</summary>
    private static readonly TimeSpan Lifetime = TimeSpan.FromSeconds(10);

    private readonly string _root;
    private readonly TimeProvider _time;
    private readonly ILogger<FileDiscovery> _logger;
    private readonly CancellationTokenSource _stopping = new();
    private readonly SemaphoreSlim _writing = new(1, 1);
    private readonly Dictionary<string, byte[]> _owned = []; // this and the next are guarded by _writing
    private readonly HashSet<string> _buckets = [];
    private Task _keepingAlive = Task.CompletedTask;
    private bool _isBroken;

    public FileDiscovery(string root, TimeProvider time, ILogger<FileDiscovery> logger)
    {
        _root = root;
        _time = time;
        _logger = logger;
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
            Probe();
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
                await WriteAsync(path, content, cancellationToken).ConfigureAwait(false);
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
                await DeleteAsync(path, cancellationToken).ConfigureAwait(false);
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
                        await DeleteAsync(path, cancellationToken).ConfigureAwait(false);
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
            var limit = _time.GetUtcNow().UtcDateTime - Lifetime;
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

    public async ValueTask DisposeAsync()
    {
        await _stopping.CancelAsync().ConfigureAwait(false);
        await _keepingAlive.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    /// <summary>Before a model is loaded: a disk that is full or read-only may
    /// still have the folder. The name is one that peers do not look at.</summary>
    private void Probe()
    {
        using var probe = new FileStream(
            Path.Combine(_root, $".tmp_{Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(8))}"),
            FileMode.CreateNew,
            FileAccess.Write,
            FileShare.None,
            bufferSize: 0,
            FileOptions.DeleteOnClose
        );
        probe.Write("probe"u8);
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

    private async Task WriteAsync(string path, byte[] content, CancellationToken cancellationToken)
    {
        var bucket = Path.GetDirectoryName(path)!;
        Directory.CreateDirectory(bucket);
        _buckets.Add(bucket);
        using var held = await LockAsync(bucket, cancellationToken).ConfigureAwait(false);
        var temporary = Path.Combine(bucket, $".tmp_{Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(8))}");
        try
        {
            // A full disk fails here, before anything is visible.
            await WriteNewAsync(temporary, content, cancellationToken).ConfigureAwait(false);
            if (!FileLock.TryLink(temporary, path))
            {
                File.Move(temporary, path, overwrite: true); // an own record with a new value
            }
        }
        finally
        {
            TryDelete(temporary);
        }
    }

    private static async Task WriteNewAsync(string path, byte[] content, CancellationToken cancellationToken)
    {
        var file = new FileStream(path, FileMode.CreateNew, FileAccess.Write, FileShare.Read, bufferSize: 0, useAsync: false);
        await using (file.ConfigureAwait(false))
        {
            await file.WriteAsync(content, cancellationToken).ConfigureAwait(false);
        }
    }

    private async Task DeleteAsync(string path, CancellationToken cancellationToken)
    {
        var bucket = Path.GetDirectoryName(path)!;
        if (!Directory.Exists(bucket))
        {
            return;
        }

        using var held = await LockAsync(bucket, cancellationToken).ConfigureAwait(false);
        File.Delete(path);
    }

    private async Task<FileLock?> LockAsync(string bucket, CancellationToken cancellationToken)
    {
        var held = await FileLock.TryTakeAsync(bucket, cancellationToken).ConfigureAwait(false);
        if (held is null)
        {
            LogLocked(_logger, bucket);
        }

        return held;
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

    private static void TryDelete(string path)
    {
        try
        {
            File.Delete(path);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // Best-effort cleanup (style E3): names with this prefix are invisible, and any peer removes them when they are old.
        }
    }

    private async Task KeepAliveAsync(CancellationToken cancellationToken)
    {
        using var timer = new PeriodicTimer(Lifetime / 3, _time);
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
                        problem = await TryAsync(() => TouchAsync(path, content, cancellationToken)).ConfigureAwait(false) ?? problem;
                    }

                    foreach (var bucket in _buckets.Where(Directory.Exists).ToArray())
                    {
                        problem = await TryAsync(() => ExpireAsync(bucket, cancellationToken)).ConfigureAwait(false) ?? problem;
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

    private async Task TouchAsync(string path, byte[] content, CancellationToken cancellationToken)
    {
        try
        {
            File.SetLastWriteTimeUtc(path, _time.GetUtcNow().UtcDateTime);
        }
        catch (Exception exception) when (exception is FileNotFoundException or DirectoryNotFoundException)
        {
            LogRestored(_logger, path);
            await WriteAsync(path, content, cancellationToken).ConfigureAwait(false);
        }
    }

    private async Task ExpireAsync(string bucket, CancellationToken cancellationToken)
    {
        using var held = await FileLock.TryTakeAsync(bucket, cancellationToken).ConfigureAwait(false);
        if (held is null)
        {
            return; // somebody else is at it, or stopped; there is no hurry
        }

        var limit = _time.GetUtcNow().UtcDateTime - Lifetime;
        foreach (var file in new DirectoryInfo(bucket).EnumerateFiles())
        {
            // A file that went while we were looking has the year 1601; that is not an age.
            if (file.Exists && file.LastWriteTimeUtc < limit)
            {
                TryDelete(file.FullName);
                LogExpired(_logger, file.FullName);
            }
        }
    }

    [LoggerMessage(
        EventId = 3101,
        Level = LogLevel.Error,
        Message = "File discovery at {Root} does not work: {Problem}. Trying again every 3 s"
    )]
    private static partial void LogBroken(ILogger logger, string root, string problem);

    [LoggerMessage(EventId = 3102, Level = LogLevel.Information, Message = "File discovery at {Root} works again")]
    private static partial void LogRecovered(ILogger logger, string root);

    [LoggerMessage(
        EventId = 3103,
        Level = LogLevel.Warning,
        Message = "Discovery record {Path} was removed by somebody else; writing it again"
    )]
    private static partial void LogRestored(ILogger logger, string path);

    [LoggerMessage(EventId = 3104, Level = LogLevel.Information, Message = "Removed expired discovery record {Path}")]
    private static partial void LogExpired(ILogger logger, string path);

    [LoggerMessage(
        EventId = 3105,
        Level = LogLevel.Warning,
        Message = "{Bucket} is locked by another process for more than 1 s; changing it without the lock"
    )]
    private static partial void LogLocked(ILogger logger, string bucket);

    [LoggerMessage(EventId = 3107, Level = LogLevel.Warning, Message = "Discovery record {Path} is no JSON and not looked at: {Problem}")]
    private static partial void LogUnreadable(ILogger logger, string path, string problem);

    [LoggerMessage(
        EventId = 3106,
        Level = LogLevel.Warning,
        Message = "Cannot delete discovery record {Path}, which will expire: {Problem}"
    )]
    private static partial void LogCannotDelete(ILogger logger, string path, string problem);
}
