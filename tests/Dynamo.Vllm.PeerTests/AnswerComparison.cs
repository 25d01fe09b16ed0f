using System.Text.Json.Nodes;

namespace Dynamo.Vllm.PeerTests;

/// <summary>Puts requests to two workers of one role and collects where the answers differ.</summary>
internal sealed class AnswerComparison
{
    private readonly DirectWorker _ours;
    private readonly DirectWorker _official;
    private readonly List<string> _differences = [];

    public AnswerComparison(DirectWorker ours, DirectWorker official)
    {
        _ours = ours;
        _official = official;
    }

    /// <summary>Fails the test with all that was found.</summary>
    public void AssertNone() => Assert.True(_differences.Count == 0, string.Join('\n', _differences));

    public async Task ExpectEqualAsync(IEnumerable<string> bodies)
    {
        foreach (var body in bodies)
        {
            var (ours, official) = (await _ours.AskAsync(body), await _official.AskAsync(body));
            if (!JsonNode.DeepEquals(ours, official))
            {
                Report(body, ours, official);
            }
        }
    }

    /// <param name="cases">Request, and a part of our text.</param>
    /// <param name="isOfficialRight">What the official worker answers.</param>
    public async Task ExpectRefusedAsync(IEnumerable<(string Body, string Text)> cases, Func<JsonObject, bool> isOfficialRight)
    {
        foreach (var (body, text) in cases)
        {
            var (ours, official) = (await _ours.AskAsync(body), await _official.AskAsync(body));
            if (
                ours is null
                || official is null
                || !isOfficialRight(official)
                || ClassOf(ours) != "InvalidRequest"
                || !ours["error"]!["message"]!.GetValue<string>().Contains(text, StringComparison.Ordinal)
            )
            {
                Report(body, ours, official);
            }
        }
    }

    public static string? ClassOf(JsonObject answer) => answer["error"]?["class"]?.GetValue<string>();

    private void Report(string body, JsonObject? ours, JsonObject? official) =>
        _differences.Add(
            $"{Short(body)}\n  ours     {Short(ours?.ToJsonString() ?? "no answer")}\n  official "
                + $"{Short(official?.ToJsonString() ?? "no answer")}"
        );

    private static string Short(string text) => text.Length <= 600 ? text : $"{text[..400]} ... {text[^200..]}";
}
