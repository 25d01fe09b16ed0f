using System.Collections.Concurrent;

namespace Dynamo.Vllm.Worker.StatusPort;

/// <summary>Files that are served under <c>/v1/metadata/...</c>: exactly those that a card names, nothing by path.</summary>
public sealed class HostedFiles
{
    private readonly ConcurrentDictionary<string, string> _files = new(StringComparer.Ordinal);

    /// <summary>Serves a local file under the path behind <c>/v1/metadata/</c>.</summary>
    public void Add(string path, string localFile) => _files[path] = localFile;

    public void RemoveAll(string prefix)
    {
        foreach (var path in _files.Keys.Where(path => path.StartsWith(prefix, StringComparison.Ordinal)))
        {
            _files.TryRemove(path, out _);
        }
    }

    public string? Find(string path) => _files.TryGetValue(path, out var file) ? file : null;
}
