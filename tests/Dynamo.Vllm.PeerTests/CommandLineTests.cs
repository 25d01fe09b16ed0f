using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PeerTests;

/// <summary>The same words to our program and to the official one, where neither gets as far as the engine.</summary>
[Trait("Category", "Peers")]
public sealed class CommandLineTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(4);

    [PeerTheory]
    [InlineData("--no-such-flag")]
    [InlineData("--disaggregation-mode", "sideways")]
    [InlineData("--connector", "nixl")]
    [InlineData("--endpoint", "only.two")]
    [InlineData("--benchmark-points-file", "points.json")]
    public async Task A_refusal_has_the_official_one_s_words(params string[] words)
    {
        using var store = new TemporaryFolder();
        string[] arguments = ["--model", Peers.TinyModel, .. words];
        await using var official = new ChildProcess(
            "official",
            Peers.Python,
            ["-m", "dynamo.vllm", .. arguments],
            Peers.Variables(store.Path)
        );
        await using var ours = WorkerProcess.Start(store.Path, ["--python", Peers.Python, .. arguments], Peers.Variables(store.Path));
        Assert.NotEqual(0, await official.ExitCodeAsync(Limit));
        Assert.NotEqual(0, await ours.Process.ExitCodeAsync(Limit));
        var reason = official.Lines.Last(line => line.Contains("rror: ", StringComparison.Ordinal));
        reason = reason[(reason.LastIndexOf("rror: ", StringComparison.Ordinal) + "rror: ".Length)..].Trim();
        Assert.Contains(reason, ours.Process.Tail, StringComparison.Ordinal);
    }

    [PeerFact]
    public async Task Help_has_every_line_of_the_official_one()
    {
        using var store = new TemporaryFolder();
        var variables = new Dictionary<string, string>(Peers.Variables(store.Path)) { ["COLUMNS"] = "120" };
        await using var official = new ChildProcess("official", Peers.Python, ["-m", "dynamo.vllm", "--help"], variables);
        await using var ours = WorkerProcess.Start(store.Path, ["--python", Peers.Python, "--help"], variables);
        Assert.Equal(0, await official.ExitCodeAsync(Limit));
        Assert.Equal(0, await ours.Process.ExitCodeAsync(Limit));
        // Log lines carry a time; the texts do not. Ours has a group of its own at the end, and usage names the program.
        var known = ours.Process.Lines.Select(Sorted).ToHashSet();
        Assert.All(
            official
                .Lines.Select(Sorted)
                .Where(line => line.StartsWith("--", StringComparison.Ordinal) || line.Contains(",--", StringComparison.Ordinal)),
            line => Assert.Contains(line, known)
        );
    }

    /// <summary>The names of parsers come in another order each time.</summary>
    private static string Sorted(string line) =>
        line.Contains('{', StringComparison.Ordinal)
            ? string.Join(',', line.Trim().Split('{', '}', ',').Order(StringComparer.Ordinal))
            : line.Trim();
}
