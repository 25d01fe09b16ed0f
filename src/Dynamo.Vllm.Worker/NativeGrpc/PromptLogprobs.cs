using System.Globalization;
using System.Text.Json;
using Dynamo.Vllm.Worker.NativeGrpc.Contract;

namespace Dynamo.Vllm.Worker.NativeGrpc;

/// <summary>Logprobs of a prompt out of the guest's JSON: an object for each token, by candidate, with the token itself first.</summary>
internal static class PromptLogprobs
{
    public static void AddTo(PromptInfo info, ReadOnlyMemory<byte> json, CandidateChoice asked)
    {
        using var document = JsonDocument.Parse(json);
        foreach (var position in document.RootElement.EnumerateArray())
        {
            var candidates = position.ValueKind == JsonValueKind.Object ? position.EnumerateObject().Select(Read).ToList() : [];
            var token = candidates.FirstOrDefault() ?? new CandidateTokenInfo.Types.TokenInfo(); // nothing is before the first token
            info.Logprobs.Add(token.Logprob);
            info.Ranks.Add(token.Rank);
            info.CandidateTokens.Add(Candidates.List(candidates, asked));
        }
    }

    private static CandidateTokenInfo.Types.TokenInfo Read(JsonProperty entry) =>
        new()
        {
            Id = uint.Parse(entry.Name, CultureInfo.InvariantCulture),
            Logprob = (float)entry.Value.GetProperty("logprob").GetDouble(),
            Rank = entry.Value.TryGetProperty("rank", out var rank) ? rank.GetUInt32() : 0,
        };
}
