using System.Net;
using System.Text;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.ModelCards;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Transports.Client;

namespace Dynamo.Vllm.PeerTests;

/// <summary>An embedding worker of ours beside the official one. The last test ends ours.</summary>
public abstract partial class EmbeddingTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(2);

    private readonly EmbeddingFixture _pair;

    protected EmbeddingTests(EmbeddingFixture pair) => _pair = pair;

    private bool IsTokenizedByFrontend => _pair is TokenEmbeddingFixture;

    [PeerFact]
    public async Task Inputs_are_answered_as_by_the_official_worker()
    {
        var differences = new List<string>();
        foreach (var request in EmbeddingCatalogue.Equal)
        {
            var (ours, official) = await AskBothAsync(request);
            Assert.Equal(HttpStatusCode.OK, official.Status);
            if (ours.Status != official.Status || !VectorComparison.AreEqual(ours.Body, official.Body))
            {
                differences.Add(Difference(request, ours, official));
            }
        }

        Assert.True(differences.Count == 0, string.Join('\n', differences));
    }

    [PeerFact]
    public async Task Mistakes_are_refused_as_by_the_official_worker_also_those_that_are_faults_there()
    {
        var differences = new List<string>();
        foreach (var request in EmbeddingCatalogue.RefusedByBoth)
        {
            var (ours, official) = await AskBothAsync(request);
            if ((ours.Status, official.Status) != (HttpStatusCode.BadRequest, HttpStatusCode.BadRequest))
            {
                differences.Add(Difference(request, ours, official));
            }
        }

        foreach (var (request, text) in EmbeddingCatalogue.FaultsThere)
        {
            var (ours, official) = await AskBothAsync(request);
            if (
                ours.Status != HttpStatusCode.BadRequest
                || !EmbeddingCatalogue.IsFault(official.Status, IsTokenizedByFrontend)
                || (official.Status != ours.Status && !ours.Body["message"]!.GetValue<string>().Contains(text, StringComparison.Ordinal))
            )
            {
                differences.Add(Difference(request, ours, official));
            }
        }

        Assert.True(differences.Count == 0, string.Join('\n', differences));
    }

    [PeerFact]
    public async Task Requests_without_a_frontend_are_answered_as_by_the_official_worker()
    {
        foreach (var body in EmbeddingCatalogue.Direct)
        {
            var (ours, official) = (
                await DirectAsync(EmbeddingFixture.OurName, body),
                await DirectAsync(EmbeddingFixture.OfficialName, body)
            );
            Assert.True(
                official.ContainsKey("data")
                    && VectorComparison.AreEqual(Unnamed(official["data"]!["data"]!), Unnamed(ours["data"]!["data"]!)),
                $"{body}\n  ours     {ours.ToJsonString()}\n  official {official.ToJsonString()}"
            );
        }

        foreach (var (body, text) in EmbeddingCatalogue.DirectRefused)
        {
            var official = await DirectAsync(EmbeddingFixture.OfficialName, body);
            Assert.Equal("InvalidRequest", AnswerComparison.ClassOf(official));
            var ours = await DirectAsync(EmbeddingFixture.OurName, body);
            Assert.Equal("InvalidRequest", AnswerComparison.ClassOf(ours));
            Assert.Contains(text, ours["error"]!["message"]!.GetValue<string>(), StringComparison.Ordinal);
        }
    }

    [PeerFact]
    public void Our_card_equals_the_official_one_but_for_the_name_and_nothing_else_is_in_the_store()
    {
        var (ours, official) = (_pair.CardWithoutName(EmbeddingFixture.OurName), _pair.CardWithoutName(EmbeddingFixture.OfficialName));
        Assert.Equal(CanonicalJson.Write(official), CanonicalJson.Write(ours));
        Assert.Equal(ModelCardChecksum.Compute(official), ModelCardChecksum.Compute(ours));
        Assert.Equal(IsTokenizedByFrontend ? "Tokens" : "Text", ours["model_input"]!.GetValue<string>());
        var instances = 1 + _pair.OurInstances;
        Assert.Equal(new Dictionary<string, int> { ["instances"] = instances, ["mdc"] = instances }, _pair.Records);
    }

    [PeerFact]
    public async Task Series_and_routes_are_those_of_the_official_worker()
    {
        var (ours, official) = (await _pair.Ours.Http.GetStringAsync("/metrics"), await _pair.OfficialHttp.GetStringAsync("/metrics"));
        var theirs = Families(official);
        Assert.NotEmpty(theirs);
        Assert.Empty(theirs.Except(Families(ours)));
        // What is more is called ours, or is what every Prometheus client says of its process.
        Assert.All(Families(ours).Except(theirs), name => Assert.Matches("^(dynamo_vllm_|process_|dynamo_component_errors_total)", name));
        Assert.Equal(Labels(official), Labels(ours));
        foreach (var path in (string[])["control/sleep", "pause_generation", "load_lora"])
        {
            using var answer = await _pair.Ours.Http.PostAsync($"/engine/{path}", null);
            using var expected = await _pair.OfficialHttp.PostAsync($"/engine/{path}", null);
            Assert.Equal((HttpStatusCode.NotFound, HttpStatusCode.NotFound), (expected.StatusCode, answer.StatusCode));
        }
    }

    [PeerFact]
    public async Task A_client_that_leaves_takes_its_prompts_out_of_the_engine()
    {
        using var leaving = new CancellationTokenSource();
        var request = _pair.EmbedAsync(EmbeddingFixture.OurName, EmbeddingCatalogue.Long, leaving.Token);
        await UnderWayAsync(1);
        await leaving.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => request);
        await UnderWayAsync(0);
        Assert.Equal(1, await _pair.Ours.MetricAsync("dynamo_component_cancellation_total"));
        Assert.Equal(HttpStatusCode.OK, (await _pair.EmbedAsync(EmbeddingFixture.OurName, new JsonObject { ["input"] = "a" })).Status);
    }

    [PeerFact]
    public async Task What_runs_when_the_stop_comes_is_finished_with_the_official_worker_s_vectors()
    {
        var request = _pair.EmbedAsync(EmbeddingFixture.OurName, EmbeddingCatalogue.Long);
        await UnderWayAsync(1);
        _pair.Ours.Process.Signal("TERM");
        var ours = await request;
        Assert.Equal(HttpStatusCode.OK, ours.Status);
        Assert.Equal(EmbeddingCatalogue.LongCount, ours.Body["data"]!.AsArray().Count);
        Assert.Equal(0, await _pair.Ours.Process.ExitCodeAsync(Limit));
        var official = await _pair.EmbedAsync(EmbeddingFixture.OfficialName, EmbeddingCatalogue.Long);
        Assert.True(VectorComparison.AreEqual(Unnamed(official.Body), Unnamed(ours.Body)), "the vectors differ");
    }

    private async Task<((HttpStatusCode Status, JsonNode Body) Ours, (HttpStatusCode Status, JsonNode Body) Official)> AskBothAsync(
        JsonObject request
    )
    {
        var ours = await _pair.EmbedAsync(EmbeddingFixture.OurName, request);
        var official = await _pair.EmbedAsync(EmbeddingFixture.OfficialName, request);
        return ((ours.Status, Unnamed(ours.Body)), (official.Status, Unnamed(official.Body)));
    }

    private async Task<JsonObject> DirectAsync(string name, string body)
    {
        using var limit = new CancellationTokenSource(Limit);
        await using var client = await WorkerClient.ConnectAsync(_pair.Addresses[name], PayloadCodec.MessagePack, limit.Token);
        await using var call = await client.CallAsync(Encoding.UTF8.GetBytes(body), limit.Token);
        var items = new List<JsonObject>();
        await foreach (var item in call.ReadAsync(limit.Token))
        {
            items.Add(item);
        }

        var single = Assert.Single(items);
        return single["error"] is null ? new JsonObject { ["data"] = single } : single;
    }

    private Task UnderWayAsync(int count) =>
        Polling.UntilAsync(
            $"there are not {count} requests under way",
            Limit,
            async () => await _pair.Ours.MetricAsync("dynamo_component_inflight_requests") == count
        );

    private static JsonNode Unnamed(JsonNode answer)
    {
        if (answer["model"] is not null)
        {
            answer["model"] = "";
        }

        return answer;
    }

    private static string Difference(JsonObject request, (HttpStatusCode, JsonNode) ours, (HttpStatusCode, JsonNode) official) =>
        $"{Short(request.ToJsonString())}\n  ours     {Short(ours.ToString())}\n  official {Short(official.ToString())}";

    private static string Short(string text) => text.Length <= 400 ? text : text[..400] + "...";

    private static IEnumerable<string> Families(string scrape) =>
        Family().Matches(scrape).Select(match => match.Groups[1].Value).Distinct();

    /// <summary>Labels of the endpoint's series, with the values that both workers share.</summary>
    private static string Labels(string scrape) =>
        WorkerId().Replace(Regex.Match(scrape, @"dynamo_component_requests_total(\{[^}]*\})").Groups[1].Value, "");

    [GeneratedRegex("^# TYPE (\\S+) ", RegexOptions.Multiline)]
    private static partial Regex Family();

    [GeneratedRegex("worker_id=\"[^\"]*\"")]
    private static partial Regex WorkerId();
}
