using System.Net;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PeerTests;

/// <summary>Embeddings of images between workers of ours and official ones, over NIXL, in either direction.</summary>
[Trait("Category", "Peers")]
[TestCaseOrderer(DeclarationOrder.Type, DeclarationOrder.Assembly)]
public sealed class EncodeTests(EncodeFixture pairs) : IClassFixture<EncodeFixture>
{
    /// <summary>Of one colour each, made with PIL: red, 100 by 80; blue, 64 by 200; green, 100 by 80; black, 60 by 60.</summary>
    private static readonly string[] Pictures =
    [
        "iVBORw0KGgoAAAANSUhEUgAAAGQAAABQCAIAAABga0e4AAAAg0lEQVR42u3QAQEAAAgCoOr/Z7vgAJjAZmidAlmyZMmSJUuBLFmyZMmSpUCWLF"
            + "myZMlSIEuWLFmyZCmQJUuWLFmyFMiSJUuWLFkKZMmSJUuWLAWyZMmSJUuWAlmyZMmSJUuBLFmyZMmSpUCWLFmyZMlSIEuWLFmyZCmQJUuWLFmy"
            + "FPQeezYBn1RtBrwAAAAASUVORK5CYII=",
        "iVBORw0KGgoAAAANSUhEUgAAAEAAAADICAIAAADX6HA8AAAAs0lEQVR42u3PQQ0AAAgEoNP+nbWBfzdoQCWTzzrPCQgICAgICAgICAgICAgICA"
            + "gICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI"
            + "CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICNwWoPcCj+l9eYsAAAAASUVORK5CYII=",
        "iVBORw0KGgoAAAANSUhEUgAAAGQAAABQCAIAAABga0e4AAAAh0lEQVR42u3QMQEAAAQAMJxC6B9FLBUE2CIseyf4KQWyZMmSJUuWAlmyZMmSJU"
            + "uBLFmyZMmSpUCWLFmyZMlSIEuWLFmyZCmQJUuWLFmyFMiSJUuWLFkKZMmSJUuWLAWyZMmSJUuWAlmyZMmSJUuBLFmyZMmSpUCWLFmyZMlSIEuW"
            + "LFmyZCn4O/b3AZA3tqg0AAAAAElFTkSuQmCC",
        "iVBORw0KGgoAAAANSUhEUgAAADwAAAA8CAIAAAC1nk4lAAAARklEQVR42u3OAQ0AAAgDoKv9O5vjGyRgZi9tNoWkpaWlpaWlpaWlpaWlpaWlpa"
            + "WlpaWlpaWlpaWlpaWlpaWlpaWlpaWl+zwa2wB+gUqG2wAAAABJRU5ErkJggg==",
    ];

    [PeerFact]
    public async Task Chats_with_images_are_answered_alike_whoever_encodes_and_whoever_prefills()
    {
        var answers = new HashSet<string>();
        foreach (var content in Chats())
        {
            var ours = await pairs.AskAsync(EncodeFixture.OurName, content);
            var official = await pairs.AskAsync(EncodeFixture.OfficialName, content);
            Assert.True(ours.Status == HttpStatusCode.OK && official.Status == HttpStatusCode.OK, $"{ours}\n{official}");
            Assert.Equal(Comparable(official.Body!), Comparable(ours.Body!));
            answers.Add(Comparable(ours.Body!));
        }

        Assert.True(answers.Count > 2, string.Join('\n', answers)); // else nobody looked
    }

    [PeerFact]
    public async Task What_our_encode_worker_refuses_is_the_client_s_mistake_with_either_worker()
    {
        var content = new JsonArray(Image("http://127.0.0.1:1/x.png"));
        var official = await pairs.AskAsync(EncodeFixture.OfficialName, content);
        Assert.Equal(HttpStatusCode.BadRequest, official.Status);
        Assert.Contains("cannot be reached", official.Body!["message"]!.GetValue<string>(), StringComparison.Ordinal);
        Assert.Equal(HttpStatusCode.BadRequest, (await pairs.AskAsync(EncodeFixture.OurName, content)).Status);
    }

    [PeerFact]
    public async Task Without_its_encode_worker_a_client_is_told_so_and_text_is_served_on()
    {
        pairs.OfficialEncoder.Signal("KILL"); // its record stays
        await pairs.OfficialEncoder.ExitCodeAsync(TimeSpan.FromSeconds(20));
        var started = TimeProvider.System.GetTimestamp();
        var (status, body) = await pairs.AskAsync(EncodeFixture.OurName, new JsonArray(Picture(3)));
        Assert.True((int)status >= 500, $"{status} {body}");
        Assert.True(TimeProvider.System.GetElapsedTime(started) < TimeSpan.FromSeconds(20));
    }

    private static IEnumerable<JsonArray> Chats()
    {
        JsonObject question() => new() { ["type"] = "text", ["text"] = "what is it" };
        yield return new JsonArray(question());
        for (var i = 0; i < 3; i++)
        {
            yield return new JsonArray(Picture(i), question());
        }

        yield return new JsonArray(Picture(0), question(), Picture(2));
    }

    private static string Comparable(JsonNode answer) =>
        $"{answer["choices"]![0]!["message"]!["content"]} {answer["usage"]!["prompt_tokens"]}";

    private static JsonObject Picture(int number) => Image("data:image/png;base64," + Pictures[number]);

    private static JsonObject Image(string url) =>
        new()
        {
            ["type"] = "image_url",
            ["image_url"] = new JsonObject { ["url"] = url },
        };
}
