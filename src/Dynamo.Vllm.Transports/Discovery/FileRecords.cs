using System.Security.Cryptography;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Transports.Discovery;

/// <summary>Writes, touches and removes the files of the store (discovery.md, 4).</summary>
/// <remarks>
/// A file appears by link or rename. Names that begin with <c>.tmp_</c> are invisible, and any peer removes them when they are old. A
/// bucket whose lock is held for too long is changed without it. Used in the store's turn only.
/// </remarks>
internal sealed partial class FileRecords(TimeProvider time, ILogger logger)
{
    /// <summary>Age at which any peer may remove a file. Fixed in the reference's code and stored nowhere.</summary>
    public static readonly TimeSpan Lifetime = TimeSpan.FromSeconds(10);

    private readonly HashSet<string> _buckets = [];

    /// <summary>Buckets that this process has written to.</summary>
    public IEnumerable<string> Buckets => _buckets;

    /// <summary>Before a model is loaded: a disk that is full or read-only may
    /// still have the folder. The name is one that peers do not look at.</summary>
    /// <returns>The time that the file system, which may be another machine's, gave it.</returns>
    public static DateTimeOffset Probe(string root)
    {
        using var probe = new FileStream(
            TemporaryIn(root),
            FileMode.CreateNew,
            FileAccess.Write,
            FileShare.None,
            bufferSize: 0,
            FileOptions.DeleteOnClose
        );
        probe.Write("probe"u8);
        return new DateTimeOffset(File.GetLastWriteTimeUtc(probe.SafeFileHandle), TimeSpan.Zero);
    }

    public async Task WriteAsync(string path, byte[] content, CancellationToken cancellationToken)
    {
        var bucket = Path.GetDirectoryName(path)!;
        Directory.CreateDirectory(bucket);
        _buckets.Add(bucket);
        using var held = await LockAsync(bucket, cancellationToken).ConfigureAwait(false);
        var temporary = TemporaryIn(bucket);
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

    public async Task DeleteAsync(string path, CancellationToken cancellationToken)
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
            LogLocked(logger, bucket);
        }

        return held;
    }

    private static void TryDelete(string path)
    {
        try
        {
            File.Delete(path);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // Best-effort cleanup (style E3): the next peer that looks after the bucket removes it.
        }
    }

    /// <summary>Keeps a record from growing old; writes it again where somebody removed it.</summary>
    public async Task TouchAsync(string path, byte[] content, CancellationToken cancellationToken)
    {
        try
        {
            File.SetLastWriteTimeUtc(path, time.GetUtcNow().UtcDateTime);
        }
        catch (Exception exception) when (exception is FileNotFoundException or DirectoryNotFoundException)
        {
            LogRestored(logger, path);
            await WriteAsync(path, content, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Removes what others left behind.</summary>
    public async Task ExpireAsync(string bucket, CancellationToken cancellationToken)
    {
        using var held = await FileLock.TryTakeAsync(bucket, cancellationToken).ConfigureAwait(false);
        if (held is null)
        {
            return; // somebody else is at it, or stopped; there is no hurry
        }

        var limit = time.GetUtcNow().UtcDateTime - Lifetime;
        foreach (var file in new DirectoryInfo(bucket).EnumerateFiles())
        {
            // A file that went while we were looking has the year 1601; that is not an age.
            if (file.Exists && file.LastWriteTimeUtc < limit)
            {
                TryDelete(file.FullName);
                LogExpired(logger, file.FullName);
            }
        }
    }

    private static string TemporaryIn(string folder) =>
        Path.Combine(folder, $".tmp_{Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(8))}");

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
}
