using System.Net;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PeerTests;

/// <summary>vLLM's own Generate API.</summary>
public sealed partial class PairTests
{
    private const string Path = "/inference/v1/generate";

    [PeerFact]
    public async Task Requests_in_vLLM_s_own_form_are_answered_as_by_the_official_worker_through_the_frontend()
    {
        var differences = new List<string>();
        var before = await _pair.Ours.MetricAsync("dynamo_component_requests_total", "endpoint=\"generate\"");
        foreach (var body in NativeCatalogue.Http)
        {
            // The frontend takes turns, so of two one is ours and one the official worker's.
            var (first, second) = (await GenerateAsync(body), await GenerateAsync(body));
            if (first != second)
            {
                differences.Add($"{Short(body)}\n  one   {Short(first)}\n  other {Short(second)}");
            }
        }

        Assert.True(differences.Count == 0, string.Join('\n', differences));
        var served = await _pair.Ours.MetricAsync("dynamo_component_requests_total", "endpoint=\"generate\"") - before;
        Assert.Equal(NativeCatalogue.Http.Count(), served);
    }

    [PeerFact]
    public async Task Requests_in_vLLM_s_own_form_are_answered_as_by_the_official_worker_without_a_frontend()
    {
        await using var ours = await DirectWorker.ConnectAsync(_pair.AddressOf(_pair.OurInstance));
        await using var official = await DirectWorker.ConnectAsync(_pair.AddressOf(_pair.OfficialInstance));
        var comparison = new AnswerComparison(ours, official);
        await comparison.ExpectEqualAsync(NativeCatalogue.Direct);
        await comparison.ExpectRefusedAsync(NativeCatalogue.Refused, answer => AnswerComparison.ClassOf(answer) == "InvalidRequest");
        comparison.AssertNone();
    }

    private async Task<string> GenerateAsync(string text)
    {
        var body = JsonNode.Parse(text)!.AsObject();
        body["model"] = "tiny";
        using var response = await _pair.Frontend.PostAsync(Path, body);
        var answer = JsonNode.Parse(await response.Content.ReadAsStringAsync())!.AsObject();
        answer.Remove("request_id");
        // The texts of our refusals may say more: to the client both are mistakes of its own.
        return response.StatusCode == HttpStatusCode.OK ? CanonicalJson.Write(answer) : $"{(int)response.StatusCode}";
    }

    private static string Short(string text) => text.Length <= 400 ? text : text[..400] + "...";
}
