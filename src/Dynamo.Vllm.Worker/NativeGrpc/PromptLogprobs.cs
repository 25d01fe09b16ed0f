using Dynamo.Vllm.Protocol.Responses;
using Dynamo.Vllm.Worker.GrpcRequests;
using Dynamo.Vllm.Worker.NativeGrpc.Contract;

namespace Dynamo.Vllm.Worker.NativeGrpc;

/// <summary>Logprobs of a prompt in the words of the contract.</summary>
internal static class PromptLogprobs
{
    public static void AddTo(PromptInfo info, ReadOnlyMemory<byte> json, CandidateChoice asked)
    {
        foreach (var position in PromptPositions.Read(json))
        {
            var token = position.FirstOrDefault(); // nothing is before the first token
            info.Logprobs.Add((float)token.Logprob);
            info.Ranks.Add((uint)token.Rank);
            info.CandidateTokens.Add(Candidates.List(position.Select(Describe), asked));
        }
    }

    private static CandidateTokenInfo.Types.TokenInfo Describe(TopLogprob candidate) =>
        new()
        {
            Id = (uint)candidate.TokenId,
            Logprob = (float)candidate.Logprob,
            Rank = (uint)candidate.Rank,
        };
}
