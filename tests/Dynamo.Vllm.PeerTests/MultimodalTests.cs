using System.Net;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol.ModelCards;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PeerTests;

/// <summary>A worker of ours that sees beside the official one: the same chats with images, and the same mistakes.</summary>
[Trait("Category", "Peers")]
[TestCaseOrderer(DeclarationOrder.Type, DeclarationOrder.Assembly)]
public sealed class MultimodalTests(MultimodalFixture pair) : IClassFixture<MultimodalFixture>
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(1);

    private static readonly JsonObject Question = new() { ["type"] = "text", ["text"] = "what is it" };

    [PeerFact]
    public async Task Images_are_answered_and_counted_as_by_the_official_worker()
    {
        var answers = new HashSet<string>();
        foreach (var content in Chats())
        {
            var request = Request(content);
            var (ours, official) = await AskBothAsync(request);
            Assert.True(official.Status == HttpStatusCode.OK && ours.Status == official.Status, $"{ours}\n{official}");
            Assert.Equal(Comparable(official.Body), Comparable(ours.Body));
            answers.Add(Text(ours.Body));
        }

        Assert.True(answers.Count > 5, string.Join('\n', answers)); // else nobody looked
    }

    [PeerFact]
    public async Task Routers_are_told_of_blocks_with_images_as_by_the_official_worker()
    {
        // Whatever ran before went to both; this is as long as several blocks.
        var (status, _) = (await AskBothAsync(Request([Image(Hosted("large.jpg")), Question.DeepClone()]))).Ours;
        Assert.Equal(HttpStatusCode.OK, status);
        var (one, other) = ("", "");
        await Polling.UntilAsync(
            "the recovery endpoints differ",
            Limit,
            async () =>
            {
                one = await RecoveryEndpoint.PathsAsync(pair, NamedPairFixture.OurName);
                other = await RecoveryEndpoint.PathsAsync(pair, NamedPairFixture.OfficialName);
                return one == other && one.Split('\n').Length >= 5;
            },
            () => $"ours\n{one}\nofficial\n{other}"
        );
    }

    [PeerFact]
    public async Task A_prefill_and_a_decode_worker_answer_images_as_the_official_worker_alone()
    {
        var decode = await pair.SplitAsync(TimeSpan.FromMinutes(5));
        await pair.Frontend.ServesAsync(MultimodalFixture.SplitName, Limit);
        var pulled = await decode.MetricAsync("vllm:nixl_xfer_time_seconds_count");
        var chats = Chats().ToList();
        foreach (var content in chats)
        {
            var request = Request(content);
            var split = await pair.AskAsync(MultimodalFixture.Chat, MultimodalFixture.SplitName, request);
            var official = await pair.AskAsync(MultimodalFixture.Chat, NamedPairFixture.OfficialName, request);
            Assert.True(split.Status == HttpStatusCode.OK, split.ToString());
            Assert.Equal(Text(official.Body), Text(split.Body));
            Assert.Equal(official.Body["usage"]!["prompt_tokens"]!.GetValue<int>(), split.Body["usage"]!["prompt_tokens"]!.GetValue<int>());
        }

        var now = 0.0;
        // The rest was cached. A transfer is counted with the first step after it, which may be the next request's.
        await Polling.UntilAsync(
            "no blocks were pulled",
            Limit,
            async () => (now = await decode.MetricAsync("vllm:nixl_xfer_time_seconds_count")) >= pulled + chats.Count / 2,
            () => $"{pulled} before, {now} now, {chats.Count} chats"
        );
    }

    [PeerFact]
    public async Task Media_that_do_not_serve_are_refused_as_by_the_official_worker_and_it_is_said_why()
    {
        foreach (var (part, status, reason) in Mistakes())
        {
            var (ours, official) = await AskBothAsync(Request([part, Question.DeepClone()]));
            Assert.Equal((status, status), (ours.Status, official.Status));
            Assert.Contains(reason, ours.Body["message"]!.GetValue<string>(), StringComparison.Ordinal);
        }
    }

    [PeerFact]
    public void Our_card_equals_the_official_one_but_for_the_name()
    {
        var (ours, official) = (pair.CardWithoutName(NamedPairFixture.OurName), pair.CardWithoutName(NamedPairFixture.OfficialName));
        Assert.Equal(ModelCardChecksum.Compute(official), ModelCardChecksum.Compute(ours));
        Assert.Equal(CanonicalJson.Write(Ordered(official)), CanonicalJson.Write(Ordered(ours)));
    }

    [PeerFact]
    public async Task Mistakes_that_are_the_workers_fault_there_are_the_clients_here_and_cost_the_worker_nothing()
    {
        foreach (var (content, reason) in Faults())
        {
            var (status, body) = await pair.AskAsync(MultimodalFixture.Chat, NamedPairFixture.OurName, Request(content));
            Assert.Equal(HttpStatusCode.BadRequest, status);
            Assert.Contains(reason, body["message"]!.GetValue<string>(), StringComparison.Ordinal);
        }

        var (after, _) = await pair.AskAsync(MultimodalFixture.Chat, NamedPairFixture.OurName, Request([Question.DeepClone()]));
        Assert.Equal(HttpStatusCode.OK, after);
    }

    [PeerFact]
    public async Task A_client_that_leaves_ends_the_fetch_of_its_image()
    {
        // A video: the frontend itself looks at images first.
        using var leaving = new CancellationTokenSource();
        var content = new JsonArray(Part("video_url", pair.Host.Url("never")), Question.DeepClone());
        var request = pair.AskAsync(MultimodalFixture.Chat, NamedPairFixture.OurName, Request(content), leaving.Token);
        await pair.Host.NeverAskedAsync(Limit);
        await leaving.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => request);
        await pair.Host.LeftAsync(Limit);
        await Polling.UntilAsync(
            "the request is still under way",
            Limit,
            async () => await pair.Ours.MetricAsync("dynamo_component_inflight_requests", "generate") == 0
        );
    }

    private IEnumerable<JsonArray> Chats()
    {
        foreach (var name in (string[])["red.png", "blue.jpg", "green.webp", "half.png", "grey.png", "large.jpg"])
        {
            yield return [Image(Hosted(name)), Question.DeepClone()];
            yield return [Question.DeepClone(), Image(Inline(name))];
        }

        yield return [Image(Hosted("red.png")), Question.DeepClone(), Image(Inline("green.webp")), Image(Hosted("red.png"))];
        yield return [Image(pair.Host.Url("redirect/2/grey.png")), Question.DeepClone()];
        var named = Image(Hosted("blue.jpg"));
        named["uuid"] = "my-image";
        yield return [named, Question.DeepClone()];
        yield return [Question.DeepClone()];
    }

    private IEnumerable<(JsonObject Part, HttpStatusCode Status, string Reason)> Mistakes()
    {
        var cut = Convert.ToBase64String(pair.Pictures["red.png"].AsSpan(0, 120));
        yield return (Image(Inline("picture.gif")), HttpStatusCode.UnsupportedMediaType, "is no JPEG, PNG or WEBP image");
        yield return (Image(Hosted("picture.gif")), HttpStatusCode.UnsupportedMediaType, "is no JPEG, PNG or WEBP image");
        yield return (Image("data:image/png;base64,aGVsbG8="), HttpStatusCode.UnsupportedMediaType, "is no JPEG, PNG or WEBP image");
        yield return (Image(Hosted("nothing.png")), HttpStatusCode.NotFound, "answered with status 404");
        yield return (Image(pair.Host.Url("status/403")), HttpStatusCode.Forbidden, "answered with status 403");
        yield return (Part("video_url", pair.Host.Url("redirect/4/red.png")), HttpStatusCode.BadRequest, "more than 3 redirects");
        yield return (Image("http://127.0.0.1:1/x.png"), HttpStatusCode.BadRequest, "cannot be reached");
        yield return (Image($"data:image/png;base64,{cut}"), HttpStatusCode.BadRequest, "damaged or cut off");
        yield return (Image("data:text/plain;base64,aGVsbG8="), HttpStatusCode.BadRequest, "media type is none of an image");
        yield return (Image("data:image/png;base64,aGVs***"), HttpStatusCode.BadRequest, "no valid base64");
        yield return (Image("data:image/png,hello"), HttpStatusCode.BadRequest, "must be base64 encoded");
        yield return (Image("file:///etc/passwd"), HttpStatusCode.BadRequest, "images of local files are not served");
        yield return (Image("ftp://127.0.0.1/x.png"), HttpStatusCode.BadRequest, "URLs of the scheme 'ftp' are not allowed");
        yield return (Part("video_url", Hosted("red.png")), HttpStatusCode.BadRequest, "video 0 of the request cannot be decoded");
    }

    private IEnumerable<(JsonArray Content, string Reason)> Faults()
    {
        yield return ([Part("video_url", pair.Host.Url("status/503")), Question.DeepClone()], "answered with status 503");
        yield return ([Part("video_url", pair.Host.Url("status/408")), Question.DeepClone()], "answered with status 408");
        yield return (
            [.. Enumerable.Range(0, 5).Select(_ => Image(Hosted("red.png")))],
            "multi_modal_data.image_url holds 5: At most 4 image(s) may be provided in one prompt."
        );
    }

    private string Hosted(string name) => pair.Host.Url($"files/{name}");

    private string Inline(string name) =>
        $"data:image/{Path.GetExtension(name)[1..].Replace("jpg", "jpeg", StringComparison.Ordinal)};base64,"
        + Convert.ToBase64String(pair.Pictures[name]);

    private static JsonObject Image(string url) => Part("image_url", url);

    private static JsonObject Part(string type, string url) =>
        new()
        {
            ["type"] = type,
            [type] = new JsonObject { ["url"] = url },
        };

    private static JsonObject Request(JsonArray content) =>
        new()
        {
            ["messages"] = new JsonArray(new JsonObject { ["role"] = "user", ["content"] = content }),
            ["max_tokens"] = 10,
            ["temperature"] = 0,
            ["ignore_eos"] = true,
        };

    private async Task<((HttpStatusCode Status, JsonNode Body) Ours, (HttpStatusCode Status, JsonNode Body) Official)> AskBothAsync(
        JsonObject request
    )
    {
        var ours = pair.AskAsync(MultimodalFixture.Chat, NamedPairFixture.OurName, request);
        var official = pair.AskAsync(MultimodalFixture.Chat, NamedPairFixture.OfficialName, request);
        return (await ours, await official);
    }

    private static string Comparable(JsonNode answer) => $"{Text(answer)} {answer["usage"]?.ToJsonString()}";

    /// <summary>Empty for tokens without a text.</summary>
    private static string Text(JsonNode answer) => answer["choices"]![0]!["message"]!["content"]?.GetValue<string>() ?? "";

    /// <summary>The official worker lists further files as its file system does.</summary>
    private static JsonObject Ordered(JsonObject card)
    {
        var files = card["extra_files"]!.AsArray().Select(file => file!.DeepClone()).OrderBy(file => file["path"]!.GetValue<string>());
        card["extra_files"] = new JsonArray([.. files]);
        return card;
    }
}
