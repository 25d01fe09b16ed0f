namespace Dynamo.Vllm.Engine.Guest;

/// <summary>The tokens of one engine step, one for each of its streams, as views into their batch. Enumerates a record for each.</summary>
internal ref struct StepTokens
{
    private readonly ReadOnlySpan<ulong> _streams;
    private readonly ReadOnlySpan<int> _tokens;
    private int _next = -1;

    public StepTokens(ReadOnlySpan<ulong> streams, ReadOnlySpan<int> tokens)
    {
        _streams = streams;
        _tokens = tokens;
    }

    public readonly TokensRecord Current =>
        new()
        {
            Stream = _streams[_next],
            PromptTokens = TokensRecord.AsBefore,
            CachedTokens = TokensRecord.AsBefore,
            Tokens = _tokens.Slice(_next, 1),
        };

    public readonly StepTokens GetEnumerator() => this;

    public bool MoveNext() => ++_next < _streams.Length;
}
