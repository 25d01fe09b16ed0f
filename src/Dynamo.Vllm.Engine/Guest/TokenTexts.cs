using System.Collections.Concurrent;

namespace Dynamo.Vllm.Engine.Guest;

/// <summary>Text of each vocabulary entry that a logprob named so far. Bounded by the vocabulary.</summary>
internal sealed class TokenTexts
{
    private readonly ConcurrentDictionary<int, ReadOnlyMemory<byte>> _texts = new();

    public void Set(int token, byte[] utf8) => _texts[token] = utf8;

    public ReadOnlyMemory<byte> Get(int token) => _texts.TryGetValue(token, out var text) ? text : default;
}
