using Dynamo.Vllm.Worker.GrpcRequests;
using Dynamo.Vllm.Worker.NativeGrpc.Contract;

namespace Dynamo.Vllm.Worker.NativeGrpc;

/// <summary>Which candidates are listed at a position; the engine adds the token itself where it is none of them.</summary>
/// <param name="Count">The likeliest ones; null unless so many are asked for.</param>
/// <param name="Tokens">Those that are named; null unless they are.</param>
internal sealed record CandidateChoice(int? Count, IReadOnlyList<int>? Tokens)
{
    /// <summary>Of a request that names none.</summary>
    private const int CountDefault = 1;

    public bool IsAll => Count is null && Tokens is null;

    /// <param name="asked">Null or empty for the default.</param>
    public static CandidateChoice Of(CandidateTokens? asked) =>
        asked?.SelectCase switch
        {
            CandidateTokens.SelectOneofCase.TopN => new CandidateChoice(Numbers.Int32("top_n", asked.TopN), null),
            CandidateTokens.SelectOneofCase.TokenIds => new CandidateChoice(null, Numbers.Tokens("token_ids", asked.TokenIds.Ids)),
            CandidateTokens.SelectOneofCase.All when asked.All => new CandidateChoice(null, null),
            _ => new CandidateChoice(CountDefault, null),
        };

    /// <summary>In the engine's words: how many, -1 for all; null where they are named.</summary>
    public int? EngineCount =>
        IsAll ? -1
        : Tokens is null ? Count
        : null;

    /// <param name="token">Of the vocabulary.</param>
    /// <param name="rank">Among all of them at this position; 0 where the engine gave none.</param>
    public bool Lists(int token, int rank) => IsAll || (Tokens is null ? rank <= Count : Tokens.Contains(token));
}
