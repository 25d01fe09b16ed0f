using System.Net;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol.ModelCards;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PeerTests;

/// <summary>A classifying worker of ours beside the official one. The last test ends ours.</summary>
[Trait("Category", "Peers")]
[TestCaseOrderer(DeclarationOrder.Type, DeclarationOrder.Assembly)]
public sealed class ClassificationTests(ClassificationFixture pair) : IClassFixture<ClassificationFixture>
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(2);

    /// <summary>300,000 tokens: an engine on the CPU takes several seconds.</summary>
    private static readonly JsonObject Long = new()
    {
        ["input"] = new JsonArray([
            .. Enumerable
                .Range(0, 300)
                .Select(_ => new JsonArray([.. Enumerable.Range(0, 1000).Select(i => JsonValue.Create(3 + (i % 1000)))])),
        ]),
    };

    [PeerFact]
    public async Task Prompts_are_put_into_classes_as_by_the_official_worker()
    {
        var differences = new List<string>();
        foreach (var request in ClassificationCatalogue.Classes)
        {
            await CompareAsync(differences, ClassificationFixture.Classify, request, HttpStatusCode.OK);
        }

        Assert.True(differences.Count == 0, string.Join('\n', differences));
    }

    [PeerFact]
    public async Task Vectors_are_those_of_the_official_worker_as_numbers_and_as_bytes()
    {
        var differences = new List<string>();
        foreach (var request in ClassificationCatalogue.Vectors)
        {
            await CompareAsync(differences, ClassificationFixture.Pooling, request, HttpStatusCode.OK);
        }

        foreach (var request in ClassificationCatalogue.Bytes)
        {
            var (ours, official) = (
                await BytesAsync(NamedPairFixture.OurName, request),
                await BytesAsync(NamedPairFixture.OfficialName, request)
            );
            Assert.StartsWith("200 ", official, StringComparison.Ordinal);
            if (ours != official)
            {
                differences.Add($"{request.ToJsonString()}\n  ours     {ours}\n  official {official}");
            }
        }

        Assert.True(differences.Count == 0, string.Join('\n', differences));
    }

    [PeerFact]
    public async Task Mistakes_are_refused_as_by_the_official_worker_also_those_that_are_faults_there()
    {
        foreach (var path in (string[])[ClassificationFixture.Classify, ClassificationFixture.Pooling])
        {
            foreach (
                var request in ClassificationCatalogue.RefusedByBoth.Where(body =>
                    body["dimensions"] is null || path == ClassificationFixture.Pooling
                )
            )
            {
                var (ours, official) = await AskBothAsync(path, request);
                Assert.Equal((HttpStatusCode.BadRequest, HttpStatusCode.BadRequest), (ours.Status, official.Status));
            }

            foreach (var (request, text) in ClassificationCatalogue.FaultsThere)
            {
                var (ours, official) = await AskBothAsync(path, request);
                Assert.Equal((HttpStatusCode.BadRequest, HttpStatusCode.InternalServerError), (ours.Status, official.Status));
                Assert.Contains(text, ours.Body["message"]!.GetValue<string>(), StringComparison.Ordinal);
            }
        }
    }

    [PeerFact]
    public void Our_card_equals_the_official_one_but_for_the_name_and_nothing_else_is_in_the_store()
    {
        var (ours, official) = (pair.CardWithoutName(NamedPairFixture.OurName), pair.CardWithoutName(NamedPairFixture.OfficialName));
        Assert.Equal(CanonicalJson.Write(official), CanonicalJson.Write(ours));
        Assert.Equal(ModelCardChecksum.Compute(official), ModelCardChecksum.Compute(ours));
        Assert.Equal("Classify | Pooling", ours["model_type"]!.GetValue<string>());
        Assert.Equal((2, 2), (pair.Records["instances"], pair.Records["mdc"]));
    }

    [PeerFact]
    public void Lines_have_the_official_worker_s_members_and_no_more_than_was_asked_for()
    {
        var (ours, official) = (LinesOf(pair.Ours.Process), LinesOf(pair.Official));
        Assert.NotEmpty(official);
        Assert.NotEmpty(ours);
        // The official worker says beside them where in its source a line was written.
        var expected = official[0].Select(member => member.Key).Except(["file", "line"]).Take(4);
        Assert.Equal(["time", "level", "target", "message"], expected);
        Assert.All(ours, line => Assert.Equal(expected, line.Select(member => member.Key).Take(4)));
        var forms = official.Concat(ours).Select(line => Shape((string)line["time"]!)).Distinct();
        Assert.Single(forms);
        AssertFiltered(official, "dynamo_runtime::pipeline", "request_span"); // a request's span is said whatever the filter is
        AssertFiltered(ours, "Dynamo.Vllm.Worker");
        foreach (var worker in (ChildProcess[])[pair.Ours.Process, pair.Official])
        {
            Assert.DoesNotContain(worker.Lines, line => line.Contains("(EngineCore", StringComparison.Ordinal)); // vLLM's own
        }

        static List<JsonObject> LinesOf(ChildProcess worker) =>
            [.. worker.Lines.Where(line => line.StartsWith('{')).Select(line => JsonNode.Parse(line)!.AsObject())];

        static string Shape(string time) => new([.. time.Select(letter => char.IsDigit(letter) ? '0' : letter)]);

        static void AssertFiltered(List<JsonObject> lines, params string[] targets)
        {
            Assert.Contains(lines, line => (string)line["level"]! == "INFO");
            var unasked = lines.Where(line =>
                (string)line["level"]! != "ERROR"
                && !targets.Any(target => ((string)line["target"]!).StartsWith(target, StringComparison.Ordinal))
            );
            Assert.Empty(unasked);
        }
    }

    [PeerFact]
    public async Task A_client_that_leaves_takes_its_prompts_out_of_the_engine()
    {
        using var leaving = new CancellationTokenSource();
        var request = pair.AskAsync(ClassificationFixture.Classify, NamedPairFixture.OurName, Long, leaving.Token);
        await UnderWayAsync(1);
        await leaving.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => request);
        await UnderWayAsync(0);
        Assert.Equal(1, await pair.Ours.MetricAsync("dynamo_component_cancellation_total"));
    }

    [PeerFact]
    public async Task What_runs_when_the_stop_comes_is_finished()
    {
        var request = pair.AskAsync(ClassificationFixture.Classify, NamedPairFixture.OurName, Long);
        await UnderWayAsync(1);
        pair.Ours.Process.Signal("TERM");
        var (status, body) = await request.WaitAsync(Limit);
        Assert.Equal(HttpStatusCode.OK, status);
        Assert.Equal(300, body["data"]!.AsArray().Count);
        Assert.Equal(0, await pair.Ours.Process.ExitCodeAsync(Limit));
    }

    private async Task CompareAsync(List<string> differences, string path, JsonObject request, HttpStatusCode expected)
    {
        var (ours, official) = await AskBothAsync(path, request);
        Assert.Equal(expected, official.Status);
        if (ours.Status != official.Status || !JsonNode.DeepEquals(ours.Body, official.Body))
        {
            differences.Add($"{Short(request)}\n  ours     {ours}\n  official {official}");
        }
    }

    private async Task<((HttpStatusCode Status, JsonNode Body) Ours, (HttpStatusCode Status, JsonNode Body) Official)> AskBothAsync(
        string path,
        JsonObject request
    )
    {
        var ours = await pair.AskAsync(path, NamedPairFixture.OurName, request);
        var official = await pair.AskAsync(path, NamedPairFixture.OfficialName, request);
        return ((ours.Status, Comparable(ours.Body, request)), (official.Status, Comparable(official.Body, request)));
    }

    /// <summary>The bytes, and where each vector lies among them.</summary>
    private async Task<string> BytesAsync(string name, JsonObject request)
    {
        using var response = await pair.PostAsync(ClassificationFixture.Pooling, name, request);
        var bytes = Convert.ToHexString(await response.Content.ReadAsByteArrayAsync());
        var metadata = response.Headers.TryGetValues("metadata", out var values) ? JsonNode.Parse(values.Single()) : null;
        return $"{(int)response.StatusCode} {(metadata is null ? "" : Comparable(metadata, request).ToJsonString())} {bytes}";
    }

    private Task UnderWayAsync(int count) =>
        Polling.UntilAsync(
            $"there are not {count} requests under way",
            Limit,
            async () => await pair.Ours.MetricAsync("dynamo_component_inflight_requests") == count
        );

    /// <summary>Without what is of one answer alone.</summary>
    private static JsonNode Comparable(JsonNode answer, JsonObject request)
    {
        var map = answer.AsObject();
        map.Remove("created");
        map.Remove("model");
        if (request["request_id"] is null)
        {
            map.Remove("id");
        }

        return map;
    }

    private static string Short(JsonNode node) => node.ToJsonString() is var text && text.Length <= 400 ? text : text[..400] + "...";
}
