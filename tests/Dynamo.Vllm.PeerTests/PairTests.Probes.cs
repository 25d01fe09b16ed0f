using System.Net;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Engine.Processes;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PeerTests;

/// <summary>What operators do to a worker: probes in their own words, an engine that stands still, a profile.</summary>
public sealed partial class PairTests
{
    [PeerFact]
    public async Task Probes_are_what_the_file_says_as_at_the_official_worker()
    {
        foreach (var http in (HttpClient[])[_pair.OfficialHttp, _pair.Ours.Http])
        {
            var probes = await ProbeCounts.OfTwoAsync(http, Limit);
            Assert.Equal((5 * probes.Requests, 2 * probes.Requests), (probes.Prompt, probes.Generated));
        }
    }

    [PeerFact]
    public async Task An_engine_that_stands_still_is_noticed_by_the_probes_and_taken_back_as_at_the_official_worker()
    {
        var cores = (_pair.Ours.FindEngineCore(), WorkerProcess.FindEngineCore(_pair.Official.Id));
        await HealthAsync(HttpStatusCode.OK);
        try
        {
            _pair.Official.Signal("STOP", cores.Item1);
            _pair.Official.Signal("STOP", cores.Item2);
            await HealthAsync(HttpStatusCode.ServiceUnavailable);
        }
        finally
        {
            _pair.Official.Signal("CONT", cores.Item1);
            _pair.Official.Signal("CONT", cores.Item2);
        }

        await HealthAsync(HttpStatusCode.OK);

        Task HealthAsync(HttpStatusCode expected) =>
            Task.WhenAll(
                ((HttpClient[])[_pair.OfficialHttp, _pair.Ours.Http]).Select(http =>
                    Polling.UntilAsync(
                        $"{http.BaseAddress} does not say {expected}",
                        Limit,
                        async () =>
                        {
                            using var response = await http.GetAsync("/health");
                            return response.StatusCode == expected;
                        }
                    )
                )
            );
    }

    [PeerFact]
    public async Task A_profile_is_taken_as_by_the_official_worker()
    {
        foreach (
            var (name, http, instance) in ((string, HttpClient, ulong)[])
                [("official", _pair.OfficialHttp, _pair.OfficialInstance), ("ours", _pair.Ours.Http, _pair.OurInstance)]
        )
        {
            Assert.Equal("""{"status":"ok","message":"Profiling started"}""", await CallAsync(http, "start_profile", name));
            await using var worker = await DirectWorker.ConnectAsync(_pair.AddressOf(instance));
            Assert.NotNull(await worker.AskAsync("""{"token_ids":[1,2,3],"stop_conditions":{"max_tokens":3}}"""));
            Assert.Equal("""{"status":"ok","message":"Profiling stopped"}""", await CallAsync(http, "stop_profile", name));
            var trace = Directory.GetFiles(_pair.Traces, $"{name}_rank0*.json").Single();
            Assert.Contains("aten::", await File.ReadAllTextAsync(trace), StringComparison.Ordinal); // what the model computed
            var frontEnd = name == "ours" ? _pair.Ours.Process.Id : _pair.Official.Id;
            Assert.Single(Directory.GetFiles(_pair.Traces, $"*_{frontEnd}.async_llm*"));
        }
    }

    private static async Task<string> CallAsync(HttpClient http, string call, string prefix)
    {
        using var response = await http.PostAsync(
            $"/engine/control/{call}",
            new StringContent(new JsonObject { ["profile_prefix"] = prefix }.ToJsonString())
        );
        return await response.Content.ReadAsStringAsync();
    }
}
