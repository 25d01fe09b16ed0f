using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;

namespace Dynamo.Vllm.Engine.Direct;

/// <summary>Templates by what requests have in common: the text of all their fields but those that differ. Thread-safe.</summary>
/// <remarks>
/// At the bound all are forgotten, and come back with their next request, as in the guest (<c>entry.py</c>). A set of parameters that
/// was asked for and got no answer goes vLLM's own way: it is not asked for again.
/// </remarks>
internal sealed class RequestTemplates
{
    /// <summary>Distinct sets of parameters that are kept.</summary>
    private const int CountMax = 256;

    /// <summary>Bytes of a set of parameters that is kept.</summary>
    private const int KeyBytesMax = 4096;

    private readonly ConcurrentDictionary<byte[], Entry> _byKey = new(Utf8KeyComparer.Instance);
    private readonly ConcurrentDictionary<int, Entry> _asked = new();
    private int _lastNumber;

    /// <param name="key">What the request has in common with others.</param>
    /// <param name="template">Found.</param>
    /// <param name="question">Number under which the guest should teach it; null where it was asked for before, or cannot be kept.</param>
    public bool TryGet(ReadOnlySpan<byte> key, [NotNullWhen(true)] out RequestTemplate? template, out int? question)
    {
        question = null;
        template = null;
        if (_byKey.GetAlternateLookup<ReadOnlySpan<byte>>().TryGetValue(key, out var entry))
        {
            template = entry.Template;
            return template is not null;
        }

        if (key.Length > KeyBytesMax)
        {
            return false;
        }

        if (_byKey.Count >= CountMax)
        {
            _byKey.Clear();
            _asked.Clear();
        }

        entry = new Entry(key.ToArray());
        if (_byKey.TryAdd(entry.Key, entry))
        {
            question = Interlocked.Increment(ref _lastNumber);
            _asked[question.Value] = entry;
        }

        return false;
    }

    /// <summary>The guest's answer to a question; passed over if it was forgotten meanwhile.</summary>
    public void Learn(int question, RequestTemplate template)
    {
        if (_asked.TryRemove(question, out var entry))
        {
            entry.Template = template;
        }
    }

    /// <summary>The question did not reach the guest: the next request asks again.</summary>
    public void Retract(int question)
    {
        if (_asked.TryRemove(question, out var entry))
        {
            _byKey.TryRemove(entry.Key, out _);
        }
    }

    private sealed class Entry(byte[] key)
    {
        public byte[] Key { get; } = key;

        public volatile RequestTemplate? Template;
    }

    private sealed class Utf8KeyComparer : IEqualityComparer<byte[]>, IAlternateEqualityComparer<ReadOnlySpan<byte>, byte[]>
    {
        public static Utf8KeyComparer Instance { get; } = new();

        public bool Equals(byte[]? x, byte[]? y) => x.AsSpan().SequenceEqual(y);

        public bool Equals(ReadOnlySpan<byte> alternate, byte[] other) => alternate.SequenceEqual(other);

        public int GetHashCode(byte[] obj) => GetHashCode(obj.AsSpan());

        public int GetHashCode(ReadOnlySpan<byte> alternate)
        {
            var hash = new HashCode();
            hash.AddBytes(alternate);
            return hash.ToHashCode();
        }

        public byte[] Create(ReadOnlySpan<byte> alternate) => alternate.ToArray();
    }
}
