using Dynamo.Vllm.Core.Engines;

namespace Dynamo.Vllm.Engine.Guest;

/// <summary>One tokens record, as views into its batch.</summary>
internal ref struct TokensRecord
{
    /// <summary>A count that is what the record before it on this stream said.</summary>
    public const int AsBefore = int.MinValue;

    public TokensFlags Flags;
    public FinishReason Finish;
    public int Index;
    public ulong Stream;
    public int PromptTokens;
    public int CachedTokens;
    public ReadOnlySpan<int> Tokens;

    /// <summary>Per token: u32 count, then (i32 id, i32 rank, f64 logprob) each.</summary>
    public ReadOnlySpan<byte> Candidates;

    /// <summary>A JSON object with what is rare.</summary>
    public ReadOnlySpan<byte> Extras;

    /// <summary>UTF-8, of a stream that wants text.</summary>
    public ReadOnlySpan<byte> Text;

    public readonly bool IsLast => Has(TokensFlags.Finished);

    public readonly bool IsPlain => (Flags & (TokensFlags.Extras | TokensFlags.Logprobs)) == 0;

    /// <summary>Unlike <c>HasFlag</c> it allocates nothing before the compiler has optimised its caller.</summary>
    public readonly bool Has(TokensFlags flag) => (Flags & flag) != 0;
}

[Flags]
internal enum TokensFlags : byte
{
    None = 0,
    Finished = 1,
    Extras = 2,
    Logprobs = 4,
    Text = 8,
}
