using System.Security.Cryptography;
using System.Text;

namespace Dynamo.Vllm.Transports.Media;

/// <summary>The images fetched last, by URL, and those under way: who asks meanwhile waits for the same fetch. Thread-safe.</summary>
/// <remarks>
/// As long as one of those that wait is there, the fetch goes on; it ends with the last. The reference keeps them decoded, which is many
/// times as much memory; the bytes of an image are decoded anew here, beside the loop.
/// </remarks>
internal sealed class MediaCache(MediaSourceOptions options)
{
    private readonly Lock _lock = new();
    private readonly LinkedList<(string Key, ReadOnlyMemory<byte> Bytes)> _kept = [];
    private readonly Dictionary<string, SharedFetch> _underWay = [];

    public async Task<ReadOnlyMemory<byte>> GetAsync(
        string url,
        string? scope,
        Func<CancellationToken, Task<ReadOnlyMemory<byte>>> fetch,
        CancellationToken cancellationToken
    )
    {
        if (KeyOf(url, scope) is not { } key)
        {
            return await fetch(cancellationToken).ConfigureAwait(false);
        }

        SharedFetch shared;
        lock (_lock)
        {
            if (TryTake(key) is { } bytes)
            {
                return bytes;
            }

            if (!_underWay.TryGetValue(key, out shared!))
            {
                shared = new SharedFetch();
                _underWay.Add(key, shared);
                shared.Task = Task.Run(() => FetchAsync(key, shared, fetch), CancellationToken.None);
            }

            shared.Waiting++;
        }

        try
        {
            return await shared.Task.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            Leave(key, shared);
        }
    }

    private async Task<ReadOnlyMemory<byte>> FetchAsync(
        string key,
        SharedFetch shared,
        Func<CancellationToken, Task<ReadOnlyMemory<byte>>> fetch
    )
    {
        try
        {
            var bytes = await fetch(shared.Stop.Token).ConfigureAwait(false);
            lock (_lock)
            {
                Keep(key, bytes);
            }

            return bytes;
        }
        finally
        {
            lock (_lock)
            {
                Forget(key, shared);
            }
        }
    }

    private void Leave(string key, SharedFetch shared)
    {
        lock (_lock)
        {
            if (--shared.Waiting > 0)
            {
                return;
            }

            Forget(key, shared); // the next one who asks begins anew
        }

        shared.Stop.Cancel();
        // Nobody is left to hear how it ended.
        _ = shared.Task.ContinueWith(
            static task => _ = task.Exception,
            CancellationToken.None,
            TaskContinuationOptions.OnlyOnFaulted | TaskContinuationOptions.ExecuteSynchronously,
            TaskScheduler.Default
        );
    }

    private void Forget(string key, SharedFetch shared)
    {
        if (_underWay.TryGetValue(key, out var current) && current == shared)
        {
            _underWay.Remove(key);
        }
    }

    private ReadOnlyMemory<byte>? TryTake(string key)
    {
        for (var node = _kept.First; node is not null; node = node.Next)
        {
            if (node.Value.Key == key)
            {
                _kept.Remove(node);
                _kept.AddFirst(node);
                return node.Value.Bytes;
            }
        }

        return null;
    }

    private void Keep(string key, ReadOnlyMemory<byte> bytes)
    {
        if (options.CachedImages <= 0 || TryTake(key) is not null)
        {
            return;
        }

        _kept.AddFirst((key, bytes));
        if (_kept.Count > options.CachedImages)
        {
            _kept.RemoveLast();
        }
    }

    /// <summary>Null: not to be shared. A digest, so that no credentials are kept.</summary>
    private string? KeyOf(string url, string? scope)
    {
        if (options.CachesByScope && string.IsNullOrEmpty(scope))
        {
            return null;
        }

        var normal = Uri.TryCreate(url, UriKind.Absolute, out var uri)
            ? $"{uri.Scheme}://{uri.UserInfo}@{uri.Authority}{uri.PathAndQuery}"
            : url;
        var text = options.CachesByScope ? $"{scope!.Length}:{scope}:{normal}" : normal;
        return Convert.ToHexString(SHA256.HashData(Encoding.UTF8.GetBytes(text)));
    }

    private sealed class SharedFetch
    {
        public CancellationTokenSource Stop { get; } = new();

        public Task<ReadOnlyMemory<byte>> Task { get; set; } = null!;

        public int Waiting { get; set; }
    }
}
