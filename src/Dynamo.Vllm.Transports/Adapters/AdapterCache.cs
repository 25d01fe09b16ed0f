using Dynamo.Vllm.Core.Adapters;

namespace Dynamo.Vllm.Transports.Adapters;

/// <summary>The folder of fetched adapters. What lies under its final name is complete: files arrive elsewhere first.</summary>
internal sealed class AdapterCache
{
    /// <summary>What file systems allow.</summary>
    private const int NameBytesMax = 255;

    private readonly AdapterSourceOptions _options;

    public AdapterCache(AdapterSourceOptions options) => _options = options;

    /// <summary>The folder of what the address leads to, whether or not it is there.</summary>
    /// <exception cref="AdapterSourceException">The name would be too long.</exception>
    public string FolderOf(string uri)
    {
        var key = uri.Replace("://", "__", StringComparison.Ordinal).Replace('/', '_').Replace('\\', '_').Replace('.', '_');
        var bytes = System.Text.Encoding.UTF8.GetByteCount(key);
        return bytes <= NameBytesMax
            ? Path.Combine(_options.CacheFolder, key)
            : throw new AdapterSourceException($"Download failed: source.uri: {bytes} bytes make no file name, at most {NameBytesMax}");
    }

    /// <param name="uri">What is fetched.</param>
    /// <param name="files">What it consists of.</param>
    /// <param name="open">Begins to fetch one.</param>
    /// <param name="cancellationToken">Leaves nothing behind under the final name.</param>
    /// <returns>The folder.</returns>
    /// <exception cref="AdapterSourceException">It is no adapter, or too large.</exception>
    public async Task<string> FillAsync(
        string uri,
        IReadOnlyList<AdapterFile> files,
        Func<AdapterFile, CancellationToken, Task<HttpResponseMessage>> open,
        CancellationToken cancellationToken
    )
    {
        var folder = FolderOf(uri);
        if (files.Count > _options.FilesMax)
        {
            throw new AdapterSourceException($"Download failed: {uri} has {files.Count} files, at most {_options.FilesMax}");
        }

        Directory.CreateDirectory(_options.CacheFolder);
        var incoming = Directory.CreateDirectory(Path.Combine(_options.CacheFolder, $".incoming-{Guid.NewGuid():N}")).FullName;
        try
        {
            var left = _options.BytesMax;
            foreach (var file in files)
            {
                using var response = await open(file, cancellationToken).ConfigureAwait(false);
                left -= await SaveAsync(response, PathIn(incoming, file.Name), left, uri, cancellationToken).ConfigureAwait(false);
            }

            if (!AdapterFolder.IsComplete(incoming))
            {
                throw new AdapterSourceException(
                    $"Download failed: {uri} is not a valid LoRA: expected {AdapterFolder.Settings} and adapter weights"
                );
            }

            Move(incoming, folder);
            return folder;
        }
        finally
        {
            if (Directory.Exists(incoming))
            {
                Directory.Delete(incoming, recursive: true);
            }
        }
    }

    private async Task<long> SaveAsync(
        HttpResponseMessage response,
        string path,
        long bytesMax,
        string uri,
        CancellationToken cancellationToken
    )
    {
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        var file = File.Create(path);
        await using (file.ConfigureAwait(false))
        {
            var body = await response.Content.ReadAsStreamAsync(cancellationToken).ConfigureAwait(false);
            await using (body.ConfigureAwait(false))
            {
                var buffer = new byte[1 << 20];
                long total = 0;
                while (await body.ReadAsync(buffer, cancellationToken).ConfigureAwait(false) is > 0 and var count)
                {
                    total += count;
                    if (total > bytesMax)
                    {
                        throw new AdapterSourceException($"Download failed: {uri} has more than {_options.BytesMax} bytes");
                    }

                    await file.WriteAsync(buffer.AsMemory(0, count), cancellationToken).ConfigureAwait(false);
                }

                return total;
            }
        }
    }

    private static string PathIn(string folder, string name)
    {
        var path = Path.GetFullPath(Path.Combine(folder, name));
        return path.StartsWith(folder + Path.DirectorySeparatorChar, StringComparison.Ordinal)
            ? path
            : throw new AdapterSourceException($"Download failed: the file name '{name}' leads out of its folder");
    }

    /// <summary>Whoever was faster has the same files; what was there incomplete, is in the way.</summary>
    private static void Move(string incoming, string folder)
    {
        if (Directory.Exists(folder) && !AdapterFolder.IsComplete(folder))
        {
            Directory.Delete(folder, recursive: true);
        }

        try
        {
            Directory.Move(incoming, folder);
        }
        catch (IOException) when (AdapterFolder.IsComplete(folder))
        {
            // Another load of the same address.
        }
    }
}
