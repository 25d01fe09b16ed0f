using System.Collections;
using System.Diagnostics.CodeAnalysis;

namespace Dynamo.Vllm.UnitTests.Worker.Configuration;

/// <summary>An environment in which nothing is set, and which remembers what was asked for.</summary>
internal sealed class RecordingEnvironment : IReadOnlyDictionary<string, string>
{
    public HashSet<string> Read { get; } = [];

    public IEnumerable<string> Keys => [];

    public IEnumerable<string> Values => [];

    public int Count => 0;

    public string this[string key] => throw new KeyNotFoundException(key);

    public bool ContainsKey(string key)
    {
        Read.Add(key);
        return false;
    }

    public bool TryGetValue(string key, [MaybeNullWhen(false)] out string value)
    {
        value = null;
        return ContainsKey(key);
    }

    public IEnumerator<KeyValuePair<string, string>> GetEnumerator() => Enumerable.Empty<KeyValuePair<string, string>>().GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
}
