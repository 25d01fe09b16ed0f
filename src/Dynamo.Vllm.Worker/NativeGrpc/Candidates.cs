using Dynamo.Vllm.Worker.NativeGrpc.Contract;

namespace Dynamo.Vllm.Worker.NativeGrpc;

/// <summary>The candidates of a position, the likeliest first.</summary>
internal static class Candidates
{
    public static CandidateTokenInfo List(IEnumerable<CandidateTokenInfo.Types.TokenInfo> found, CandidateChoice asked)
    {
        var listed = new CandidateTokenInfo();
        listed.Tokens.AddRange(found.Where(token => asked.Lists((int)token.Id, (int)token.Rank)).OrderBy(token => token.Rank));
        return listed;
    }
}
