using System.Globalization;
using System.Text.Json;
using Dynamo.Vllm.Protocol.Responses;

namespace Dynamo.Vllm.Worker.GrpcRequests;

/// <summary>Logprobs of a prompt out of the guest's JSON: an object for each token, by candidate, with the token itself first.</summary>
internal static class PromptPositions
{
    /// <summary>The candidates of each position; none of the first, which nothing is before.</summary>
    public static List<List<TopLogprob>> Read(ReadOnlyMemory<byte> json)
    {
        using var document = JsonDocument.Parse(json);
        return
        [
            .. document
                .RootElement.EnumerateArray()
                .Select(position => position.ValueKind == JsonValueKind.Object ? position.EnumerateObject().Select(Read).ToList() : []),
        ];
    }

    private static TopLogprob Read(JsonProperty entry) =>
        new(
            int.Parse(entry.Name, CultureInfo.InvariantCulture),
            entry.Value.TryGetProperty("rank", out var rank) ? rank.GetInt32() : 0,
            entry.Value.GetProperty("logprob").GetDouble(),
            default
        );
}
