using Dynamo.Vllm.Protocol.Errors;

namespace Dynamo.Vllm.Transports.Media;

/// <summary>Videos and sounds below a folder that the operator named.</summary>
internal sealed class LocalMedia(MediaSourceOptions options)
{
    /// <exception cref="RequestFailedException">There is no such folder, or the file is outside of it, missing or too large.</exception>
    public async Task<ReadOnlyMemory<byte>> ReadAsync(string scheme, string url, string field, CancellationToken cancellationToken)
    {
        if (options.LocalFolder is null)
        {
            throw MediaRefusal.Of(field, "local files are not served; DYN_MM_LOCAL_PATH of the worker names a folder of those that are");
        }

        // The path of a file URL is escaped, a bare path is not.
        var path = scheme == "file" ? Uri.UnescapeDataString(PathOf(url)) : url;
        try
        {
            var root = RealPath(Path.GetFullPath(options.LocalFolder));
            var file = RealPath(Path.GetFullPath(path));
            if (!IsBelow(file, root))
            {
                throw MediaRefusal.Of(field, "the file is outside of the folder of those that are served");
            }

            using var handle = File.OpenHandle(file, options: FileOptions.Asynchronous);
            // What was opened, wherever a link that was changed meanwhile has led.
            var opened = new FileInfo($"/proc/self/fd/{handle.DangerousGetHandle()}").LinkTarget;
            if (opened is null || !IsBelow(opened, root))
            {
                throw MediaRefusal.Of(field, "the file is outside of the folder of those that are served");
            }

            return await ReadAsync(handle, field, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw MediaRefusal.Of(field, "the file cannot be read", cause: exception);
        }
    }

    private async Task<ReadOnlyMemory<byte>> ReadAsync(
        Microsoft.Win32.SafeHandles.SafeFileHandle handle,
        string field,
        CancellationToken cancellationToken
    )
    {
        var length = RandomAccess.GetLength(handle);
        if (length > options.BytesMax)
        {
            throw MediaRefusal.Of(
                field,
                $"the file has {length} bytes, above the limit {options.BytesMax}, which DYN_MM_MAX_FILE_SIZE_MB sets"
            );
        }

        var buffer = new byte[length];
        var read = 0;
        while (read < length)
        {
            var count = await RandomAccess.ReadAsync(handle, buffer.AsMemory(read), read, cancellationToken).ConfigureAwait(false);
            if (count == 0)
            {
                break;
            }

            read += count;
        }

        return buffer.AsMemory(0, read);
    }

    /// <summary>Of <c>file:///path</c> and <c>file://host/path</c>, whose host counts for nothing, as in the reference.</summary>
    private static string PathOf(string url)
    {
        var rest = url["file:".Length..];
        rest = rest.StartsWith("//", StringComparison.Ordinal) ? rest[2..] : rest;
        var slash = rest.IndexOf('/', StringComparison.Ordinal);
        return slash < 0 ? "/" : rest[slash..];
    }

    private static bool IsBelow(string path, string root) => path.StartsWith(root.TrimEnd('/') + "/", StringComparison.Ordinal);

    /// <summary>With every link on the way followed.</summary>
    private static string RealPath(string path)
    {
        if (path == "/")
        {
            return path;
        }

        var joined = Path.Combine(RealPath(Path.GetDirectoryName(path)!), Path.GetFileName(path));
        var target = new FileInfo(joined).ResolveLinkTarget(returnFinalTarget: true);
        return target is null ? joined : RealPath(target.FullName);
    }
}
