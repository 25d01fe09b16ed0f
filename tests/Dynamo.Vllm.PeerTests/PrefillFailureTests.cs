using System.Net;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PeerTests;

/// <summary>The failure matrix of the prefill stage, row by row: our decode
/// worker and the official frontend (disaggregation.md, 7).</summary>
[Trait("Category", "Peers")]
public sealed class PrefillFailureTests : IClassFixture<PrefillFailureFixture>
{
    private readonly PrefillFailureFixture _fleet;

    public PrefillFailureTests(PrefillFailureFixture fleet) => _fleet = fleet;

    [PeerFact]
    public void A_decode_worker_alone_gets_no_requests()
    {
        Assert.Equal(HttpStatusCode.ServiceUnavailable, _fleet.BeforePrefill.Status);
        Assert.Contains("not ready to serve requests yet", _fleet.BeforePrefill.Body, StringComparison.Ordinal);
        Assert.Equal(0, _fleet.BeforePrefill.DecodeCalls);
    }

    [PeerTheory]
    [InlineData(PrefillBehaviour.HandsOver)]
    [InlineData(PrefillBehaviour.HandsOverWithLength)]
    [InlineData(PrefillBehaviour.GivesEmptyParameters)]
    public async Task What_can_be_handed_over_is_decoded(PrefillBehaviour behaviour)
    {
        var (status, body, decodeCalls) = await RunAsync(behaviour);
        Assert.True(status == HttpStatusCode.OK, $"{status} {body}\n{_fleet.Log}");
        Assert.Equal(1, decodeCalls);
        Assert.Equal(1, _fleet.Prefill.StopConditions!["max_tokens"]!.GetValue<int>());
        var usage = JsonNode.Parse(body)!["usage"]!;
        Assert.Equal(4, usage["completion_tokens"]!.GetValue<int>()); // the prefill worker's token is not among them
        Assert.Equal(ScriptedPrefill.CachedTokens, usage["prompt_tokens_details"]!["cached_tokens"]!.GetValue<int>());
    }

    [PeerTheory]
    [InlineData(PrefillBehaviour.GivesNoParameters, 500, "Failed to generate completions")]
    [InlineData(PrefillBehaviour.GivesNullParameters, 500, "Failed to generate completions")]
    [InlineData(PrefillBehaviour.SendsNothing, 500, "Failed to generate completions")]
    [InlineData(PrefillBehaviour.EndsWithErrorReason, 500, "Internal server error")]
    [InlineData(PrefillBehaviour.SendsErrorItem, 500, "Internal server error")]
    [InlineData(PrefillBehaviour.FailsAfterTheItem, 500, "Internal server error")]
    public async Task A_prefill_that_failed_is_an_error_and_is_not_decoded(PrefillBehaviour behaviour, int status, string message)
    {
        var answer = await RunAsync(behaviour);
        Assert.Equal((status, 0), ((int)answer.Status, answer.DecodeCalls));
        Assert.Contains(message, answer.Body, StringComparison.Ordinal);
        // Such a failure says nothing of the next request: the worker stays in routing.
        Assert.Equal(HttpStatusCode.OK, (await RunAsync(PrefillBehaviour.HandsOver, recover: false)).Status);
    }

    [PeerFact]
    public async Task A_prefill_that_stops_is_the_whole_answer()
    {
        var (status, body, decodeCalls) = await RunAsync(PrefillBehaviour.StopsWithStop);
        Assert.Equal((HttpStatusCode.OK, 0), (status, decodeCalls));
        var answer = JsonNode.Parse(body)!;
        Assert.Equal("stop", answer["choices"]![0]!["finish_reason"]!.GetValue<string>());
        Assert.Equal(1, answer["usage"]!["completion_tokens"]!.GetValue<int>());
    }

    [PeerTheory]
    [InlineData(PrefillBehaviour.RefusesInThePrologue)]
    [InlineData(PrefillBehaviour.DropsTheConnection)]
    public async Task A_broken_connection_takes_the_prefill_worker_out_for_a_while(PrefillBehaviour behaviour)
    {
        var (status, body, decodeCalls) = await RunAsync(behaviour);
        Assert.Equal((HttpStatusCode.ServiceUnavailable, 0), (status, decodeCalls));
        Assert.Contains("Service temporarily unavailable", body, StringComparison.Ordinal);

        var calls = _fleet.Prefill.Calls;
        var next = await _fleet.AskAsync("the next one");
        Assert.True((int)next.Status >= 500, $"{next.Status} {next.Body}");
        Assert.Equal(calls, _fleet.Prefill.Calls);
        await _fleet.RecoverAsync();
    }

    [PeerFact]
    public async Task Without_its_prefill_worker_a_decode_worker_gets_no_requests_again()
    {
        await _fleet.RecoverAsync();
        await _fleet.StopPrefillAsync();
        var before = await _fleet.DecodeCallsAsync();
        await _fleet.Frontend.WaitAsync(
            "requests are not refused",
            TimeSpan.FromSeconds(30),
            async () =>
            {
                var (status, body) = await _fleet.AskAsync("is there a prefill worker?");
                return status == HttpStatusCode.ServiceUnavailable
                    && body.Contains("not ready to serve requests", StringComparison.Ordinal);
            }
        );
        Assert.Equal(before, await _fleet.DecodeCallsAsync());
    }

    private async Task<(HttpStatusCode Status, string Body, int DecodeCalls)> RunAsync(PrefillBehaviour behaviour, bool recover = true)
    {
        if (recover)
        {
            await _fleet.RecoverAsync();
        }

        var (prefillBefore, decodeBefore) = (_fleet.Prefill.Calls, await _fleet.DecodeCallsAsync());
        _fleet.Prefill.Behaviour = behaviour;
        var (status, body) = await _fleet.AskAsync($"prefill {behaviour} this prompt please");
        Assert.Equal(1, _fleet.Prefill.Calls - prefillBefore); // no retry, no way around
        return (status, body, (int)(await _fleet.DecodeCallsAsync() - decodeBefore));
    }
}
