using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PeerTests;

/// <summary>The same inputs to our worker and to the official one, without a
/// frontend in between: requests, control calls, probes and the dump.</summary>
[Collection(MixedFleet.Name)]
[Trait("Category", "Peers")]
public sealed class ReferenceAnswersTests
{
    private readonly MixedFleetFixture _fleet;

    public ReferenceAnswersTests(MixedFleetFixture fleet) => _fleet = fleet;

    [PeerFact]
    public async Task Requests_are_answered_as_by_the_official_worker()
    {
        await using var ours = await DirectWorker.ConnectAsync(_fleet.AddressOf(_fleet.InstanceOf(_fleet.First)));
        await using var official = await DirectWorker.ConnectAsync(_fleet.AddressOf(_fleet.OfficialInstance));
        var comparison = new AnswerComparison(ours, official);
        await comparison.ExpectEqualAsync([.. DirectCatalogue.Equal, .. DirectCatalogue.EqualWhereDecoded]);
        await comparison.ExpectRefusedAsync(
            [.. DirectCatalogue.RefusedByBoth, .. DirectCatalogue.RefusedByBothWhereDecoded],
            answer => AnswerComparison.ClassOf(answer) == "InvalidRequest"
        );
        await comparison.ExpectRefusedAsync(DirectCatalogue.FaultsThere, answer => AnswerComparison.ClassOf(answer) == "Internal");
        comparison.AssertNone();
    }

    [PeerFact]
    public async Task Requests_that_would_hold_up_the_others_are_refused()
    {
        await using var ours = await DirectWorker.ConnectAsync(_fleet.AddressOf(_fleet.InstanceOf(_fleet.First)));
        foreach (var (body, text) in DirectCatalogue.Limits)
        {
            var answer = await ours.AskAsync(body);
            Assert.Equal("InvalidRequest", AnswerComparison.ClassOf(answer!));
            Assert.Contains(text, answer!["error"]!["message"]!.GetValue<string>(), StringComparison.Ordinal);
        }
    }

    [PeerFact]
    public async Task Control_calls_are_answered_as_by_the_official_worker()
    {
        var differences = new List<string>();
        foreach (var (path, body) in ControlCatalogue.Calls)
        {
            var (ours, official) = (await CallAsync(_fleet.First.Http, path, body), await CallAsync(_fleet.OfficialHttp, path, body));
            if (ours.Status != official.Status || !JsonNode.DeepEquals(ours.Body, official.Body))
            {
                differences.Add($"{path} {body}\n  ours     {ours}\n  official {official}");
            }
        }

        Assert.True(differences.Count == 0, string.Join('\n', differences));
    }

    [PeerFact]
    public async Task Taints_are_on_the_card_as_on_the_official_one()
    {
        foreach (var taints in (string[])["""["b","a","b"]""", "[]"])
        {
            await CallAsync(_fleet.First.Http, "update/model_taints", $"{{\"taints\":{taints}}}");
            await CallAsync(_fleet.OfficialHttp, "update/model_taints", $"{{\"taints\":{taints}}}");
            Assert.Equal(TaintsOf(_fleet.OfficialInstance), TaintsOf(_fleet.InstanceOf(_fleet.First)));
        }

        string? TaintsOf(ulong instance) =>
            _fleet.Records("v1/mdc").Single(record => record["instance_id"]!.GetValue<ulong>() == instance)["card_json"]!["runtime_config"]!
                ["taints"]
                ?.ToJsonString();
    }

    [PeerFact]
    public async Task Cache_and_benchmark_endpoints_are_answered_as_by_the_official_worker()
    {
        foreach (var endpoint in (string[])["clear_kv_blocks", "get_perf_metrics"])
        {
            await using var ours = await DirectWorker.ConnectAsync(_fleet.AddressOf(_fleet.InstanceOf(_fleet.First), endpoint));
            await using var official = await DirectWorker.ConnectAsync(_fleet.AddressOf(_fleet.OfficialInstance, endpoint));
            var comparison = new AnswerComparison(ours, official);
            await comparison.ExpectEqualAsync(["{}"]);
            comparison.AssertNone();
        }
    }

    [PeerFact]
    public async Task Probes_and_metrics_are_answered_as_by_the_official_worker()
    {
        foreach (var (method, path) in ControlCatalogue.Probes)
        {
            using var ours = await _fleet.First.Http.SendAsync(new HttpRequestMessage(new HttpMethod(method), path));
            using var official = await _fleet.OfficialHttp.SendAsync(new HttpRequestMessage(new HttpMethod(method), path));
            Assert.Equal((path, official.StatusCode), (path, ours.StatusCode));
            Assert.Equal(official.Content.Headers.Allow.Order(), ours.Content.Headers.Allow.Order());
            if (!official.IsSuccessStatusCode)
            {
                Assert.Equal(await official.Content.ReadAsStringAsync(), await ours.Content.ReadAsStringAsync());
            }
        }

        Assert.Equal(await EndpointsAsync(_fleet.OfficialHttp), await EndpointsAsync(_fleet.First.Http));
        Assert.Equal(await RecoverySeriesAsync(_fleet.OfficialHttp), await RecoverySeriesAsync(_fleet.First.Http));
    }

    [PeerFact]
    public void The_dump_has_the_official_one_s_members()
    {
        var (ours, official) = (_fleet.DumpOf("ours"), _fleet.DumpOf("official"));
        // Of its own: our options, which the reference has not; and what a process sets in its own environment once it runs.
        Assert.Equal([], Except(official, ours));
        Assert.Equal(
            [
                "config.drain_timeout",
                "config.engine_busy_timeout",
                "config.engine_drive",
                "config.engine_frozen_timeout",
                "config.engine_stall_timeout",
                "config.grpc_port",
                "config.grpc_requests",
                "config.item_interval",
                "config.live_is_ready",
                "config.python",
                "config.simulated_engine",
                "config.system_tls_cert",
                "config.system_tls_key",
                "config.system_token_file",
                "config.termination_grace_period",
            ],
            Except(ours, official)
        );
        Assert.Equal(
            ["config.dump_config_to", "config.engine_args.kv_events_config.endpoint", "runtime_info.command_line_args"],
            ours.Keys.Intersect(official.Keys).Where(key => ours[key] != official[key] && !IsEnvironment(key)).Order(StringComparer.Ordinal)
        );

        static IEnumerable<string> Except(IReadOnlyDictionary<string, string> some, IReadOnlyDictionary<string, string> others) =>
            some.Keys.Except(others.Keys).Where(key => !IsEnvironment(key)).Order(StringComparer.Ordinal);

        static bool IsEnvironment(string key) => key.StartsWith("environment.", StringComparison.Ordinal);
    }

    private static async Task<(int Status, JsonNode? Body)> CallAsync(HttpClient http, string path, string body)
    {
        using var response = await http.PostAsync($"/engine/{path}", new StringContent(body, Encoding.UTF8));
        return ((int)response.StatusCode, JsonNode.Parse(await response.Content.ReadAsStringAsync()));
    }

    private static async Task<IEnumerable<string>> EndpointsAsync(HttpClient http)
    {
        var endpoints = JsonNode.Parse(await http.GetStringAsync("/health"))!["endpoints"]!.AsObject();
        return endpoints.Select(pair => $"{WithoutId(pair.Key)} {pair.Value}").Order(StringComparer.Ordinal);
    }

    /// <summary>The series of the recovery endpoint, without values and the ids of its worker.</summary>
    private static async Task<IEnumerable<string>> RecoverySeriesAsync(HttpClient http)
    {
        var lines = (await http.GetStringAsync("/metrics")).Split('\n');
        return lines
            .Where(line =>
                line.Contains("worker_kv_query", StringComparison.Ordinal) && !line.Contains("_bucket", StringComparison.Ordinal)
            )
            .Select(line =>
                string.Join(',', line[..line.IndexOf('}', StringComparison.Ordinal)].Split('{', ',').Select(part => part.Split('=')[0]))
            )
            .Order(StringComparer.Ordinal);
    }

    private static string WithoutId(string name) =>
        name.StartsWith("worker_kv_query_source_", StringComparison.Ordinal) ? "worker_kv_query_source_" : name;
}
