using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Protocol.Discovery;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Transports.Discovery;

/// <summary>Records as files under a shared directory (discovery.md, 4).</summary>
/// <remarks>
/// A record appears by link or rename, never by writing its final name, since watchers read it at that moment. Every third of the lifetime own files
/// are touched, others that are too old are removed, and own files that somebody removed are written again, which the reference does not do.
/// Golden files: captures/runtime/file_store_contents.json, file_store_tree.txt.
/// </remarks>
public sealed partial class FileDiscovery : IDiscovery
{
    /// <summary>Age at which any peer may remove a file. Fixed in the reference's code and stored nowhere.</summary>
    private static readonly TimeSpan Lifetime = TimeSpan.FromSeconds(10);

    private readonly string _root;
    private readonly TimeProvider _time;
    private readonly ILogger<FileDiscovery> _logger;
    private readonly CancellationTokenSource _stopping = new();
    private readonly Lock _lock = new();
    private readonly Dictionary<string, byte[]> _owned = [];
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
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new InvalidOperationException($"file discovery cannot use {_root} ({exception.Message}); set DYN_FILE_KV", exception);
        }

        _keepingAlive = Task.Run(() => KeepAliveAsync(_stopping.Token), cancellationToken);
        return Task.FromResult(MemoryDiscovery.RandomInstance());
    }

    public async Task RegisterAsync(DiscoveryRecord record, CancellationToken cancellationToken)
    {
        var content = Encoding.UTF8.GetBytes(record.Value.ToJsonString());
        var path = PathOf(record);
        await WriteAsync(path, content, cancellationToken).ConfigureAwait(false);
        lock (_lock)
        {
            _owned[path] = content;
        }
    }

    public async Task UnregisterAsync(DiscoveryRecord record, CancellationToken cancellationToken)
    {
        var path = PathOf(record);
        lock (_lock)
        {
            _owned.Remove(path);
        }

        await DeleteAsync(path, cancellationToken).ConfigureAwait(false);
    }

    public async Task LeaveAsync(CancellationToken cancellationToken)
    {
        string[] paths;
        lock (_lock)
        {
            paths = [.. _owned.Keys];
            _owned.Clear();
        }

        foreach (var path in paths)
        {
            await DeleteAsync(path, cancellationToken).ConfigureAwait(false);
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _stopping.CancelAsync().ConfigureAwait(false);
        await _keepingAlive.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    private string PathOf(DiscoveryRecord record) => Path.Combine(_root, record.Bucket, FileNames.Escape(record.Key));

    private async Task WriteAsync(string path, byte[] content, CancellationToken cancellationToken)
    {
        var bucket = Path.GetDirectoryName(path)!;
        Directory.CreateDirectory(bucket);
        lock (_lock)
        {
            _buckets.Add(bucket);
        }

        using var held = await FileLock.TakeAsync(bucket, cancellationToken).ConfigureAwait(false);
        var temporary = Path.Combine(bucket, $".tmp_{Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(8))}");
        try
        {
            // A full disk fails here, before anything is visible.
            await File.WriteAllBytesAsync(temporary, content, cancellationToken).ConfigureAwait(false);
            if (!FileLock.TryLink(temporary, path))
            {
                File.Move(temporary, path, overwrite: true); // an own record with a new value
            }
        }
        finally
        {
            File.Delete(temporary);
        }
    }

    private static async Task DeleteAsync(string path, CancellationToken cancellationToken)
    {
        var bucket = Path.GetDirectoryName(path)!;
        if (!Directory.Exists(bucket))
        {
            return;
        }

        using var held = await FileLock.TakeAsync(bucket, cancellationToken).ConfigureAwait(false);
        File.Delete(path);
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
        try
        {
            await TouchAsync(cancellationToken).ConfigureAwait(false);
            await ExpireAsync(cancellationToken).ConfigureAwait(false);
            if (_isBroken)
            {
                _isBroken = false;
                LogRecovered(_logger, _root);
            }
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // Loop supervision (style E3): a store that is away for a while must find us when it is back.
            if (!_isBroken)
            {
                _isBroken = true;
                LogBroken(_logger, _root, exception.Message);
            }
        }
    }

    private async Task TouchAsync(CancellationToken cancellationToken)
    {
        KeyValuePair<string, byte[]>[] owned;
        lock (_lock)
        {
            owned = [.. _owned];
        }

        foreach (var (path, content) in owned)
        {
            try
            {
                File.SetLastWriteTimeUtc(path, _time.GetUtcNow().UtcDateTime);
            }
            catch (Exception exception) when (exception is FileNotFoundException or DirectoryNotFoundException)
            {
                bool isOwned;
                lock (_lock)
                {
                    isOwned = _owned.ContainsKey(path); // it may have been withdrawn in between
                }

                if (isOwned)
                {
                    LogRestored(_logger, path);
                    await WriteAsync(path, content, cancellationToken).ConfigureAwait(false);
                }
            }
        }
    }

    private async Task ExpireAsync(CancellationToken cancellationToken)
    {
        string[] buckets;
        lock (_lock)
        {
            buckets = [.. _buckets];
        }

        var limit = _time.GetUtcNow().UtcDateTime - Lifetime;
        foreach (var bucket in buckets.Where(Directory.Exists))
        {
            using var held = await FileLock.TakeAsync(bucket, cancellationToken).ConfigureAwait(false);
            foreach (var path in Directory.EnumerateFiles(bucket).Where(path => File.GetLastWriteTimeUtc(path) < limit))
            {
                File.Delete(path);
                LogExpired(_logger, path);
            }
        }
    }

    [LoggerMessage(EventId = 3101, Level = LogLevel.Error, Message = "File discovery at {Root} does not work: {Problem}. Trying again every 3 s")]
    private static partial void LogBroken(ILogger logger, string root, string problem);

    [LoggerMessage(EventId = 3102, Level = LogLevel.Information, Message = "File discovery at {Root} works again")]
    private static partial void LogRecovered(ILogger logger, string root);

    [LoggerMessage(EventId = 3103, Level = LogLevel.Warning, Message = "Discovery record {Path} was removed by somebody else; writing it again")]
    private static partial void LogRestored(ILogger logger, string path);

    [LoggerMessage(EventId = 3104, Level = LogLevel.Information, Message = "Removed expired discovery record {Path}")]
    private static partial void LogExpired(ILogger logger, string path);
}
